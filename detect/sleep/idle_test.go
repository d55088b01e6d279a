package sleep

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fcnode/fcnode/detect/change"
)

// outcome of a simulated site that is put to sleep.
type sleepy struct{ requests, delayed, waited, beyond float64 }

func (s sleepy) share() float64 { return s.delayed / s.requests }

// sleep plays Poisson arrivals against a rule: until says, from the moment when the
// site is up, when it goes to sleep if nobody comes (idle), or in any case (lifetime).
func sleep(seed uint64, lambda float64, start, after time.Duration, lifetime bool, w time.Duration) sleepy {
	rnd := rand.New(rand.NewPCG(seed, 11))
	var s sleepy
	var now, ready, ends float64 // seconds; asleep when now >= ends
	for range 200_000 {
		now += rnd.ExpFloat64() / lambda
		s.requests++
		if now >= ends {
			ready = now + start.Seconds()
			ends = ready + after.Seconds()
		} else if !lifetime {
			ends = max(ready, now) + after.Seconds()
		}
		if now < ready {
			s.delayed++
			s.waited += ready - now
			if ready-now > w.Seconds() {
				s.beyond++
			}
		}
	}
	return s
}

func TestClosedFormsHoldInSimulation(t *testing.T) {
	for i, c := range []struct {
		lambda       float64
		start, after time.Duration
	}{
		{0.01, 500 * time.Millisecond, 2 * time.Minute},
		{0.5, 2 * time.Second, 5 * time.Second},
		{3, 800 * time.Millisecond, time.Second},
	} {
		const w = 300 * time.Millisecond
		idle := sleep(uint64(i), c.lambda, c.start, c.after, false, w)
		life := sleep(uint64(i), c.lambda, c.start, c.after, true, w)
		for _, f := range []struct {
			name      string
			got, want float64
		}{
			{"share delayed, idle timeout", idle.share(), ShareDelayedIdle(c.lambda, c.start, c.after)},
			{"share delayed, lifetime", life.share(), ShareDelayedLifetime(c.lambda, c.start, c.after)},
			{"share waiting longer than 300 ms", idle.beyond / idle.requests, ShareWaiting(c.lambda, c.start, c.after, w)},
			{"mean wait", idle.waited / idle.requests, MeanWait(c.lambda, c.start, c.after).Seconds()},
		} {
			if math.Abs(f.got-f.want) > 0.05*f.want+0.002 {
				t.Errorf("λ %v, S %v, T %v: %s: simulated %.4f, computed %.4f", c.lambda, c.start, c.after, f.name, f.got, f.want)
			}
		}
	}
}

func TestTimeoutsInvertTheShares(t *testing.T) {
	for _, lambda := range []float64{1e-4, 0.02, 1, 40} {
		for _, share := range []float64{0.001, 0.01, 0.2} {
			const start = 200 * time.Millisecond
			if got := ShareDelayedIdle(lambda, start, IdleTimeout(lambda, start, share)); math.Abs(got-share) > 1e-6 {
				t.Errorf("λ %v: idle timeout for %v gives %v", lambda, share, got)
			}
			if got := ShareDelayedLifetime(lambda, start, LifetimeFor(lambda, start, share)); math.Abs(got-share) > 1e-6 {
				t.Errorf("λ %v: lifetime for %v gives %v", lambda, share, got)
			}
		}
	}
	if w := ShareWaiting(1, time.Second, time.Second, 2*time.Second); w != 0 {
		t.Errorf("nobody waits longer than a start takes, got %v", w)
	}
}

// With sites whose rates are change.Gamma distributed, the timeout for an unknown rate keeps the
// share over all requests.
func TestIdleTimeoutOfAnUnknownRate(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 12))
	prior := change.Gamma{Shape: 3, Seconds: 600}
	const share = 0.05
	timeout := IdleTimeoutUnknown(prior, share).Seconds()
	var requests, cold float64
	for range 4000 {
		rate := -math.Log(rnd.Float64()*rnd.Float64()*rnd.Float64()) / prior.Seconds // change.Gamma(3)
		for now := rnd.ExpFloat64() / rate; now < 86400; {
			gap := rnd.ExpFloat64() / rate
			now += gap
			requests++
			if gap > timeout {
				cold++
			}
		}
	}
	if got := cold / requests; math.Abs(got-share) > 0.1*share {
		t.Errorf("share %.4f, asked for %v", got, share)
	}
}

// The controller holds the objective without knowing the arrivals: Poisson, bursts
// with heavy tails, a site that changes.
func TestIdleControlHoldsTheObjective(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 13))
	gaps := map[string]func(n int) float64{
		"poisson": func(int) float64 { return 30 * rnd.ExpFloat64() },
		"pages": func(int) float64 {
			if rnd.IntN(6) > 0 {
				return 0.3 * rnd.Float64()
			}
			return 90 * rnd.ExpFloat64()
		},
		"heavy tail": func(int) float64 { return 5 * math.Pow(rnd.Float64(), -1/1.3) },
		"a change": func(n int) float64 {
			if n > 30_000 {
				return 5 * rnd.ExpFloat64()
			}
			return 100 * rnd.ExpFloat64()
		},
	}
	for name, gap := range gaps {
		for _, share := range []float64{0.01, 0.05} {
			c := NewIdleControl(share, 0)
			for n := range 60_000 {
				cold := uint64(0)
				if gap(n) > c.Timeout().Seconds() {
					cold = 1
				}
				c.Observe(1, cold)
			}
			got, n := c.Share()
			if n != 60_000 || math.Abs(got-share) > 0.1*share {
				t.Errorf("%s: %.4f of %d requests were cold, asked for %v", name, got, n, share)
			}
		}
	}
}

func FuzzIdle(f *testing.F) {
	f.Add(1.0, 0.01, int64(1e9), int64(1e9), 1.0, 60.0, uint64(5), uint64(2))
	f.Add(math.NaN(), math.Inf(1), int64(math.MinInt64), int64(math.MaxInt64), math.Inf(1), math.NaN(), uint64(math.MaxUint64), uint64(math.MaxUint64))
	f.Fuzz(func(t *testing.T, lambda, share float64, start, after int64, shape, sec float64, requests, cold uint64) {
		s, a := time.Duration(max(0, start)), time.Duration(max(0, after))
		for _, v := range []float64{ShareDelayedIdle(lambda, s, a), ShareDelayedLifetime(lambda, s, a), ShareWaiting(lambda, s, a, s/2)} {
			if !(v >= 0 && v <= 1) {
				t.Fatalf("share %v", v)
			}
		}
		for _, d := range []time.Duration{
			MeanWait(lambda, s, a), IdleTimeout(lambda, s, share), LifetimeFor(lambda, s, share), IdleTimeoutUnknown(change.Gamma{Shape: shape, Seconds: sec}, share),
		} {
			if d < 0 {
				t.Fatalf("duration %v", d)
			}
		}
		c := NewIdleControl(share, a)
		before := c.Timeout()
		c.Observe(requests, 0)
		if c.Timeout() > before {
			t.Fatalf("no cold request, and the timeout rose from %v to %v", before, c.Timeout())
		}
		c.Observe(requests, cold)
		if d := c.Timeout(); d < minIdle-time.Microsecond || d > maxIdle+time.Second {
			t.Fatalf("timeout %v", d)
		}
	})
}
