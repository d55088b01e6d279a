package model

import (
	"iter"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fcnode/fcnode/detect"
)

// arrivals of a Poisson process whose rate may change, by thinning one of the top rate.
func arrivals(seed uint64, length time.Duration, top float64, rate func(time.Duration) float64) iter.Seq[time.Duration] {
	return func(yield func(time.Duration) bool) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		for at := time.Duration(0); ; {
			at += time.Duration(rnd.ExpFloat64() / top * 1e9)
			if at >= length || rnd.Float64()*top < rate(at) && !yield(at) {
				return
			}
		}
	}
}

// A replica with one core and Poisson arrivals is the queue M/M/1 with processor
// sharing, whose mean number of jobs is ρ/(1-ρ).
func TestModelIsTheQueueOfTheBooks(t *testing.T) {
	for _, rho := range []float64{0.3, 0.7} {
		c := Config{Work: 20 * time.Millisecond, CPU: 1, Replicas: 1, Objective: time.Second, Seed: 3}
		var m meter
		o := Run(c, &m, arrivals(1, 20*time.Minute, rho*50, func(time.Duration) float64 { return rho * 50 }))
		want := rho / (1 - rho)
		if math.Abs(m.jobs-want) > 0.1*want || math.Abs(m.used-rho) > 0.05*rho {
			t.Errorf("ρ %v: %.3f jobs on average, want %.3f; %.3f cores used", rho, m.jobs, want, m.used)
		}
		if o.Requests < 15_000 || o.Over != 0 && rho < 0.5 || o.Replicas < 0.99 || o.Replicas > 1.01 {
			t.Errorf("ρ %v: %+v", rho, o)
		}
	}
}

// meter averages what there is to see.
type meter struct {
	Fixed
	jobs, used float64
	n          float64
}

func (m *meter) Tick(_ time.Duration, v *View) Wish {
	m.n++
	m.jobs += (v.Mean - m.jobs) / m.n
	m.used += (v.Used - m.used) / m.n
	return Wish{}
}

const (
	learn = 2 * time.Minute
	after = 2 * time.Minute
	base  = 20.0 // requests a second: 0.4 cores
)

func demo(seed uint64) Config {
	return Config{
		Work: 20 * time.Millisecond, CPU: 1, Start: 100 * time.Millisecond, Replicas: 1, Write: time.Millisecond,
		Objective: 200 * time.Millisecond, Change: learn, Seed: seed,
	}
}

func scaler(limits bool) *Fcnode {
	f := &Fcnode{Scaler: detect.NewScaler(detect.Targets{Conns: 5}, detect.ActionCosts{Out: 100 * time.Millisecond, In: 20 * time.Millisecond}), Max: 15}
	f.Limit = detect.Limit{Min: 1, Max: 1}
	if limits {
		f.Limit.Max = 4
	}
	return f
}

// loads are the shapes that a site meets, and how many cores it needs in the end.
func loads() map[string]func(time.Duration) float64 {
	return map[string]func(time.Duration) float64{
		"step by 4": func(at time.Duration) float64 {
			if at < learn {
				return base
			}
			return 4 * base
		},
		"step by 16": func(at time.Duration) float64 {
			if at < learn {
				return base
			}
			return 16 * base
		},
		"ramp to 8": func(at time.Duration) float64 {
			return base * (1 + 7*min(1, max(0, float64(at-learn)/float64(time.Minute))))
		},
		"flash crowd": func(at time.Duration) float64 {
			x := float64(at-learn) / float64(20*time.Second)
			return base * (1 + 9*max(0, min(x, 1, 5-x)))
		},
	}
}

// length is for how long a load is played: it ends with five minutes of what is then
// the usual.
func length(name string) time.Duration {
	if name == "flash crowd" {
		return learn + 100*time.Second + 5*time.Minute
	}
	return learn + after
}

// The right state in the end, soon, and few visitors who notice.
func TestScalerInTheLoop(t *testing.T) {
	for name, rate := range loads() {
		for _, limits := range []bool{false, true} {
			for seed := range uint64(2) {
				f := scaler(limits)
				o := Run(demo(seed), f, arrivals(seed, length(name), 16*base, rate))
				need := rate(length(name)-time.Second) * 0.02 // cores
				cores := o.LastCPU * float64(o.Last)
				if cores < need || cores > 6*need+4 {
					t.Errorf("%s, limits %v, seed %d: ends with %d replicas of %.2f cores, %.1f are needed", name, limits, seed, o.Last, o.LastCPU, need)
				}
				if o.Over > 0.03 {
					t.Errorf("%s, limits %v, seed %d: %.2f %% of the requests took over %v: %+v", name, limits, seed, 100*o.Over, demo(0).Objective, o)
				}
				if o.Actions > 45 {
					t.Errorf("%s, limits %v, seed %d: %d actions", name, limits, seed, o.Actions)
				}
			}
		}
	}
}

// Far more than one replica carries is seen within a blink.
func TestScalerIsQuick(t *testing.T) {
	for seed := range uint64(5) {
		f := scaler(false)
		o := Run(demo(seed), f, arrivals(seed, learn+20*time.Second, 16*base, loads()["step by 16"]))
		if o.Decided < 0 || o.Decided > 250*time.Millisecond || o.Served > 400*time.Millisecond {
			t.Errorf("seed %d: decided after %v, served after %v", seed, o.Decided, o.Served)
		}
	}
}

// Under a steady load, and one of pages, there is little to do, and ever less.
func TestScalerInTheLoopIgnoresNoise(t *testing.T) {
	const length = 30 * time.Minute
	for name, page := range map[string]int{"single requests": 1, "pages of 5": 5} {
		for _, limits := range []bool{false, true} {
			f := scaler(limits)
			c := demo(1)
			c.Change = 0
			pages := func(yield func(time.Duration) bool) {
				for at := range arrivals(2, length, base, func(time.Duration) float64 { return base / float64(page) }) {
					for range page {
						if !yield(at) {
							return
						}
					}
				}
			}
			o := Run(c, f, pages)
			if o.Actions > 40 || o.Most > 6 {
				t.Errorf("%s, limits %v: %d actions in %v, up to %d replicas", name, limits, o.Actions, length, o.Most)
			}
			t.Logf("%s, limits %v: %d actions in %v, up to %d replicas, %d alarms, %.2f %% over", name, limits, o.Actions, length, o.Most, f.Alarms, 100*o.Over)
		}
	}
}

// The compared rules do what is said of them.
func TestComparedRulesInTheLoop(t *testing.T) {
	rules := map[string]func() Rule{
		"KPA":      func() Rule { return &KPA{KnativeRule{Target: 5, Max: 15}} },
		"averages": func() Rule { return &Averages{AverageRule{Target: 5, Max: 15}} },
	}
	least := map[string]time.Duration{"KPA": 500 * time.Millisecond, "averages": 2 * time.Second}
	for name, rule := range rules {
		o := Run(demo(1), rule(), arrivals(1, learn+after, 16*base, loads()["step by 16"]))
		if o.Decided < least[name] || o.Decided > 30*time.Second || o.Last < 7 {
			t.Errorf("%s: %+v", name, o)
		}
	}
	if o := Run(demo(1), Fixed{}, arrivals(1, learn+10*time.Second, 16*base, loads()["step by 16"])); o.Actions != 0 || o.Last != 1 || o.Decided != -1 {
		t.Errorf("fixed: %+v", o)
	}
}

// The same seed gives the same outcome.
func TestModelIsRepeatable(t *testing.T) {
	run := func() Outcome {
		return Run(demo(5), scaler(true), arrivals(5, learn+30*time.Second, 16*base, loads()["step by 4"]))
	}
	if a, b := run(), run(); a != b {
		t.Errorf("%+v\n%+v", a, b)
	}
}
