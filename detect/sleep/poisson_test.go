package sleep

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// simulated plays Poisson visitors; the share of the time that the site is up is counted
// beside what sleep counts.
func simulated(seed uint64, p Poisson, after time.Duration, lifetime bool) Service {
	rnd := rand.New(rand.NewPCG(seed, 12))
	var now, ready, ends, begun, up, waited, delayed float64
	const n = 200_000
	for range n {
		now += rnd.ExpFloat64() / p.Rate
		if now >= ends {
			up += ends - begun
			begun, ready = now, now+p.Start.Seconds()
			ends = ready + after.Seconds()
		} else if !lifetime {
			ends = max(ready, now) + after.Seconds()
		}
		if now < ready {
			delayed++
			waited += ready - now
		}
	}
	return Service{delayed / n, time.Duration(waited / n * 1e9), up / now}
}

func TestPoissonService(t *testing.T) {
	near := func(a, b, tolerance float64) bool { return math.Abs(a-b) <= tolerance*max(a, b) }
	for i, p := range []Poisson{{1.0 / 60, time.Second}, {1.0 / 600, 2 * time.Second}, {0.5, 3 * time.Second}} {
		for _, after := range []time.Duration{2 * time.Second, time.Minute, 4 * time.Minute} {
			if p.Rate*after.Seconds() > 10 {
				continue // it would be delayed once in 20,000 visitors
			}
			for _, lifetime := range []bool{false, true} {
				want := p.Idle(after)
				if lifetime {
					want = p.Lifetime(after)
				}
				got := simulated(uint64(i), p, after, lifetime)
				if !near(got.Delayed, want.Delayed, 0.03) || !near(got.Wait.Seconds(), want.Wait.Seconds(), 0.03) || !near(got.Up, want.Up, 0.03) {
					t.Errorf("%+v, %v, lifetime %v: simulated %+v, by the form %+v", p, after, lifetime, got, want)
				}
			}
		}
	}
}

func TestPoissonInverses(t *testing.T) {
	for _, p := range []Poisson{{0.001, 700 * time.Millisecond}, {0.02, 5 * time.Second}, {1, 50 * time.Millisecond}} {
		for _, share := range []float64{0.1, 0.01, 0.001} {
			if got := p.Idle(p.IdleFor(share)).Delayed; math.Abs(got-share) > 1e-6 {
				t.Errorf("%+v: %v delayed after the idle time for %v", p, got, share)
			}
			if got := p.Lifetime(p.LifetimeFor(share)).Delayed; math.Abs(got-share) > 1e-6 {
				t.Errorf("%+v: %v delayed with the lifetime for %v", p, got, share)
			}
			wait := time.Duration(share * float64(p.Start) / 2)
			if got := p.Idle(p.IdleForWait(wait)).Wait; math.Abs((got - wait).Seconds()) > 1e-6 {
				t.Errorf("%+v: a mean wait of %v, asked for %v", p, got, wait)
			}
			if got := p.Lifetime(p.LifetimeForWait(wait)).Wait; math.Abs((got - wait).Seconds()) > 1e-6 {
				t.Errorf("%+v: a mean wait of %v with a lifetime, asked for %v", p, got, wait)
			}
		}
		if p.IdleForWait(time.Hour) != 0 || p.LifetimeForWait(time.Hour) != 0 {
			t.Errorf("%+v: an hour's wait takes some time awake", p)
		}
	}
}

// Poisson pauses have no memory: the best that can be done is to go at once to the tier of
// least hold/λ + wake, and stay. A plan that has learnt them costs hardly more.
func TestPlansOfPoissonPausesAreTheClosedForm(t *testing.T) {
	for _, mean := range []float64{20, 120, 900, 7200, 86400} {
		for _, visit := range []float64{60, 600, 6000} {
			rnd := rand.New(rand.NewPCG(1, 60))
			var l life
			l.p.Use(page(), at(visit))
			draw := func() time.Duration { return time.Duration(mean * rnd.ExpFloat64() * 1e9) }
			for range 500 {
				if d := draw(); d > shortest*time.Second {
					l.pause(d)
				}
			}
			tab := &l.p.table
			best := math.Inf(1)
			for i := range tab.n {
				// Running for the first two seconds in any case.
				best = min(best, tab.hold[0]*mean*-math.Expm1(-shortest/mean)+math.Exp(-shortest/mean)*(tab.hold[i]*mean+tab.once(i, 0)))
			}
			var plans Plans
			l.p.Plan(&l.s, &plans)
			cost := 0.0
			const n = 20_000
			for range n {
				d := draw()
				cost += l.p.Cost(plans.Follow(), max(d, time.Nanosecond)) / n
				if d < shortest*time.Second { // it did not sleep
					cost -= tab.wake[0][0] / n
				}
			}
			if cost > 1.2*best || cost < 0.93*best {
				t.Errorf("mean pause %v s, V = %v: a plan costs %.3f, the closed form %.3f: %v", mean, visit, cost, best, plans.Follow().Steps(nil))
			}
		}
	}
}
