package model

import (
	"slices"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/detect/change"
)

// Fixed changes nothing.
type Fixed struct{}

// Arrival implements Rule.
func (Fixed) Arrival(time.Duration, *View) Wish { return Wish{} }

// Tick implements Rule.
func (Fixed) Tick(time.Duration, *View) Wish { return Wish{} }

// Fcnode is the Scaler as the node drives it: asked at each trigger of the kernel
// (connections a replica over the target, and the CUSUM, each once until it has been well
// below) and at a look every second.
type Fcnode struct {
	Scaler   *detect.Scaler
	Limit    detect.Limit // of the CPU; Now is filled in
	Max      int
	Baseline change.Baseline // known beforehand; the zero value is learned

	normal change.Normal
	params change.CusumParams
	state  change.CusumState
	told   bool
	over   bool // the threshold of connections has fired

	looked   time.Duration
	again    time.Duration // when the Scaler wants to be asked again; 0: at the next look
	seen     uint64
	rate     window
	ticks    int
	used     float64
	throttle float64
	answers  []time.Duration

	Alarms    int // of the CUSUM
	Decisions []detect.Decision
}

// looks is how often the node reads everything.
const looks = time.Second

// Arrival implements Rule.
func (f *Fcnode) Arrival(at time.Duration, v *View) Wish {
	f.learn()
	f.rate.add(at)
	fired := f.state.Arrival(&f.params, kernelTime(at)) != 0
	if fired {
		f.Alarms++
	}
	// The threshold of the kernel: edge-triggered, armed again below three quarters.
	if target := f.Scaler.Targets.Conns; target > 0 {
		each := float64(v.Total()) / float64(max(1, len(v.Conns)))
		switch {
		case each > target && !f.over:
			f.over, fired = true, true
		case each < target*3/4:
			f.over = false
		}
	}
	if !fired {
		return Wish{}
	}
	return f.decide(at, v)
}

// kernelTime is a clock that has run for a while.
func kernelTime(at time.Duration) uint64 { return 1<<50 + uint64(at) }

// learn tells the kernel's part what is normal, when that has changed.
func (f *Fcnode) learn() {
	if f.Baseline != (change.Baseline{}) {
		if !f.told {
			f.params, f.told = f.Baseline.Params(), true
		}
		return
	}
	if b, changed := f.normal.Changed(); changed {
		f.params = b.Params()
	}
}

// Tick implements Rule.
func (f *Fcnode) Tick(at time.Duration, v *View) Wish {
	f.ticks++
	f.used += v.Used
	f.throttle += v.Throttled
	f.answers = append(f.answers, v.Answers...)
	if at-f.looked < looks {
		if f.again > 0 && at >= f.again {
			return f.decide(at, v)
		}
		return Wish{}
	}
	before := f.params
	f.normal.Observe(float64(v.Arrived-f.seen), at-f.looked, f.state.Alarms(&f.params, kernelTime(at)) != 0)
	f.learn()
	f.state = f.state.Rebase(&before, &f.params, kernelTime(at))
	f.looked, f.seen = at, v.Arrived
	w := f.decide(at, v)
	f.ticks, f.used, f.throttle = 0, 0, 0
	f.answers = f.answers[:0]
	return w
}

func (f *Fcnode) decide(at time.Duration, v *View) Wish {
	sig := detect.Signals{
		Arrivals: f.rate.rate(at),
		Alarm:    f.state.Alarms(&f.params, kernelTime(at)),
		Replicas: detect.Replicas{Now: len(v.Conns) + v.Starting, Starting: v.Starting, Min: 1, Max: f.Max},
	}
	for _, c := range v.Conns {
		sig.Conns = append(sig.Conns, uint64(c))
	}
	if f.Limit.Max > 0 {
		sig.CPU.Limit = f.Limit
		sig.CPU.Limit.Now = v.CPU
		sig.CPU.Used = v.Used
		sig.CPU.Hits = v.Throttled
		if f.ticks > 0 {
			sig.CPU.Used, sig.CPU.Hits = f.used/float64(f.ticks), f.throttle/float64(f.ticks)
		}
	}
	if n := len(f.answers); n > 0 {
		slices.Sort(f.answers)
		sig.Latency = detect.Latency{P50: f.answers[n/2], P99: f.answers[min(n-1, n*99/100)], Samples: uint64(n)}
	}
	var w Wish
	for range 4 {
		d := f.Scaler.Decide(at, sig)
		switch d.Kind {
		case detect.Up, detect.Down:
			w.CPU, sig.CPU.Limit.Now = d.To, d.To
		case detect.Out, detect.In:
			w.Replicas, sig.Replicas.Now = d.Replicas, d.Replicas
			sig.Replicas.Starting = max(0, d.Replicas-len(v.Conns))
			if d.Kind == detect.In {
				sig.Conns = sig.Conns[:min(len(sig.Conns), d.Replicas)]
			}
		default:
			f.again = 0
			if d.Again > 0 {
				f.again = at + d.Again
			}
			return w
		}
		f.Decisions = append(f.Decisions, d)
	}
	return w
}

// window counts the arrivals of the last while: at most as many as it has places.
type window struct {
	times [256]time.Duration
	n     int
}

// rateOver is the time over which a rate is taken, if there are not so many arrivals.
const rateOver = time.Second

func (w *window) add(at time.Duration) {
	w.times[w.n%len(w.times)] = at
	w.n++
}

// rate is the number of arrivals in the last second, or in the time of the last 256.
func (w *window) rate(at time.Duration) float64 {
	kept := min(w.n, len(w.times))
	in := 0
	oldest := at
	for i := 1; i <= kept; i++ {
		t := w.times[(w.n-i)%len(w.times)]
		if at-t > rateOver {
			return float64(in) / rateOver.Seconds()
		}
		in, oldest = in+1, t
	}
	if kept < len(w.times) || at <= oldest {
		return float64(in) / min(rateOver, max(at, Tick)).Seconds()
	}
	return float64(in) / (at - oldest).Seconds()
}

// KPA is KnativeRule in the model.
type KPA struct{ Rule KnativeRule }

// Arrival implements Rule: it does not look at arrivals.
func (*KPA) Arrival(time.Duration, *View) Wish { return Wish{} }

// Tick implements Rule.
func (k *KPA) Tick(at time.Duration, v *View) Wish {
	k.Rule.Observe(at-1, v.Mean) // it belongs to the second before
	return Wish{Replicas: k.Rule.Decide(at, len(v.Conns)+v.Starting)}
}

// Averages is AverageRule in the model.
type Averages struct{ Rule AverageRule }

// Arrival implements Rule: it does not look at arrivals.
func (*Averages) Arrival(time.Duration, *View) Wish { return Wish{} }

// Tick implements Rule.
func (a *Averages) Tick(at time.Duration, v *View) Wish {
	return Wish{Replicas: a.Rule.Decide(at, float64(v.Total()), len(v.Conns)+v.Starting)}
}
