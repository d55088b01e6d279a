package change

import (
	"math"
	"time"

	"github.com/fcnode/fcnode/detect/internal/figure"
)

// CusumParams is the test of Cusum as the BPF program computes it: in whole
// nanoseconds, one word of state per ratio, no division, no multiplication.
//
// Divide the statistic C by λ0(r−1)/φ, what it loses in a second, and it becomes a time: how
// long the site would have to be silent for it to reach zero. One arrival adds
// ln r/(λ0(r−1)), the alarm is at hφ/(λ0(r−1)), and the passing of time subtracts itself. So
// the state need only be the moment at which the statistic would be zero ("due"), and one step is
//
//	due = max(due + Step, now);  alarm when due - now >= Limit
//
// the leaky bucket of ATM networks (GCRA, virtual scheduling). One word can be exchanged
// atomically, so CPUs need no lock. φ is in Limit only.
//
// Precision: Step and Limit are rounded to 1 ns. At 10,000 arrivals a second the step for
// ratio 16 is 18,484 ns, so the error is below 3e-5; at MaxLambda below 0.3 %, as if λ0 had been off by so much.
//
// Overflow: Step < 2^50, Rearm <= Limit <= 2^60, now < 2^63 (292 years of uptime), so
// due <= now + Limit + Step < 2^64.
//
// The zero value never alarms.
type CusumParams struct {
	Step  [3]uint64 // ns that one arrival adds
	Limit [3]uint64 // ns at which the alarm is, and where the statistic stops growing; 0: this ratio is off
	Rearm [3]uint64 // ns below which an alarm that was given is over
}

// maxLimit keeps due from overflowing; 36 years of silence.
const maxLimit = 1 << 60

// Params are the integers for a baseline.
func (b Baseline) Params() CusumParams {
	b = b.sane()
	var p CusumParams
	for i, r := range Ratios {
		loss := b.Lambda * (r - 1) // what the statistic, times φ, loses a second
		p.Step[i] = nanoseconds(math.Log(r) / loss)
		p.Limit[i] = nanoseconds(b.threshold() * b.Phi / loss)
		p.Rearm[i] = nanoseconds(rearm * b.threshold() * b.Phi / loss)
	}
	return p
}

func nanoseconds(s float64) uint64 {
	return uint64(figure.Clamp(math.Round(s*1e9), 1, maxLimit, maxLimit))
}

// CusumState is what the kernel keeps for a site. The zero value is the start (in the
// first seconds of a machine the first arrival may count as one step).
type CusumState struct {
	Due     [3]uint64 // when the statistic of each ratio would be zero, on the kernel's clock
	Alarmed uint32    // the alarms that last, as in Alarm
}

// Arrival is the step that the BPF program does at a new connection, bit for bit. It
// returns the alarms that begin. now need not be monotonic (CPUs may differ a little).
func (s *CusumState) Arrival(p *CusumParams, now uint64) Alarm {
	var fired Alarm
	for i := range p.Step {
		if p.Limit[i] == 0 {
			continue
		}
		bit := uint32(1) << i
		due := max(s.Due[i]+p.Step[i], now)
		if due-now < p.Rearm[i] {
			s.Alarmed &^= bit
		}
		if due-now >= p.Limit[i] {
			due = now + p.Limit[i]
			if s.Alarmed&bit == 0 {
				s.Alarmed |= bit
				fired |= Alarm(bit)
			}
		}
		s.Due[i] = due
	}
	return fired
}

// Alarms are those that last at a moment. The kernel clears a bit only at the next
// arrival, so whoever reads its state asks here.
func (s *CusumState) Alarms(p *CusumParams, now uint64) Alarm {
	a := Alarm(s.Alarmed)
	for i := range p.Step {
		if p.Limit[i] == 0 || max(s.Due[i], now)-now < p.Rearm[i] {
			a &^= 1 << i
		}
	}
	return a
}

// Silence is how long the site has to be silent until no alarm lasts.
func (s *CusumState) Silence(p *CusumParams, now uint64) time.Duration {
	var longest uint64
	for i := range p.Step {
		if rest := max(s.Due[i], now) - now; s.Alarmed&(1<<i) != 0 && rest >= p.Rearm[i] {
			longest = max(longest, rest-p.Rearm[i]+1)
		}
	}
	return time.Duration(longest)
}

// Rebase carries the state over to other parameters, so that a new baseline neither
// alarms by itself nor loses what it has seen.
func (s CusumState) Rebase(from, to *CusumParams, now uint64) CusumState {
	out := CusumState{Alarmed: s.Alarmed}
	for i := range s.Due {
		if from.Limit[i] == 0 || to.Limit[i] == 0 {
			out.Alarmed &^= 1 << i
			continue
		}
		share := min(1, float64(max(s.Due[i], now)-now)/float64(from.Limit[i]))
		out.Due[i] = now + min(to.Limit[i], uint64(share*float64(to.Limit[i])))
	}
	return out
}
