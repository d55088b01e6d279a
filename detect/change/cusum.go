package change

import (
	"math"
	"time"

	"github.com/fcnode/fcnode/detect/internal/figure"
)

// Ratios are the sizes of change that are looked for side by side: the arrival rate
// becomes so many times what it was. A small ratio sees small changes, late; a large one
// sees only large ones, within few arrivals.
var Ratios = [3]float64{2, 4, 16}

// DefaultARL0 is how many arrivals there are between two false alarms at least, on
// average, while the load stays what it is.
const DefaultARL0 = 1e6

// Bounds of what a Baseline may say. They keep the kernel's 64-bit nanoseconds from
// overflowing; an honest estimate lies within them.
const (
	MinLambda = 1e-6 // one arrival in 11 days
	MaxLambda = 1e6
	MaxPhi    = 1e4
	MaxARL0   = 1e15
)

// Baseline is the load that counts as normal.
type Baseline struct {
	Lambda float64 // arrivals a second
	Phi    float64 // overdispersion: variance of counts over their mean; 1 for a Poisson process
	ARL0   float64 // arrivals between two false alarms; 0: DefaultARL0
}

// sane returns b within the bounds; what is no number is replaced by what alarms least.
func (b Baseline) sane() Baseline {
	if b.ARL0 == 0 {
		b.ARL0 = DefaultARL0
	}
	return Baseline{
		Lambda: figure.Clamp(b.Lambda, MinLambda, MaxLambda, MaxLambda),
		Phi:    figure.Clamp(b.Phi, 1, MaxPhi, MaxPhi),
		ARL0:   figure.Clamp(b.ARL0, 10, MaxARL0, MaxARL0),
	}
}

// threshold is h. Three tests run side by side, so each gets a third of the false
// alarms.
func (b Baseline) threshold() float64 { return math.Log(b.ARL0) + math.Log(float64(len(Ratios))) }

// Delay is how long a change to ratio times the baseline goes unnoticed on average: the
// threshold divided by what one second of the new load tells (its Kullback-Leibler divergence).
func (b Baseline) Delay(ratio float64) time.Duration {
	b = b.sane()
	best := math.Inf(1)
	for _, r := range Ratios {
		// What a test for r gains a second while the rate is ratio times the baseline.
		drift := b.Lambda * (ratio*math.Log(r) - (r - 1)) / b.Phi
		if drift > 0 {
			best = min(best, b.threshold()/drift)
		}
	}
	return figure.Seconds(best)
}

// Alarm is a set of ratios: bit i stands for Ratios[i].
type Alarm uint8

// Ratio is the largest one in the set, or 1 for none.
func (a Alarm) Ratio() float64 {
	for i := len(Ratios) - 1; i >= 0; i-- {
		if a&(1<<i) != 0 {
			return Ratios[i]
		}
	}
	return 1
}

// rearm is the share of the threshold below which an alarm that was given is over.
// Under the old load the statistic falls, so it does end; a half keeps one burst from
// alarming more than once.
const rearm = 0.5

// Cusum watches the rate of arrivals for an increase: Page's cumulative sum for a
// Poisson process, one step per arrival, in floating point. The kernel does the same in
// integers, see CusumParams; this one is what that is tested against.
//
//	C = max(0, C + (ln r - λ0(r-1)Δt)/φ), alarm at C >= h = ln ARL0 + ln 3
//
// Each step is the log-likelihood ratio of one gap Δt, so that Lorden's bound holds: at
// least e^h arrivals between false alarms. (To clip at zero before ln r is added, as it is often
// written, gives every run of arrivals a start of ln r, and up to r times the false alarms.)
//
// The statistic of each ratio is held at its threshold, not reset by an alarm: so an
// alarm lasts as long as the load that caused it, and not much longer.
type Cusum struct {
	base    Baseline
	stat    [len(Ratios)]float64
	alarmed Alarm
	last    time.Duration
	started bool
}

// NewCusum begins to watch.
func NewCusum(b Baseline) *Cusum { return &Cusum{base: b.sane()} }

// Arrival takes the next arrival into account and returns the alarms that begin with
// it. The first one only starts the clock; an earlier time than the last one's counts
// as the same.
func (c *Cusum) Arrival(at time.Duration) Alarm {
	if !c.started {
		c.started, c.last = true, at
		return 0
	}
	gap := max(0, at-c.last)
	c.last += gap
	h := c.base.threshold()
	var fired Alarm
	for i, r := range Ratios {
		bit := Alarm(1) << i
		c.stat[i] = max(0, c.stat[i]+(math.Log(r)-c.base.Lambda*(r-1)*gap.Seconds())/c.base.Phi)
		if c.stat[i] < rearm*h {
			c.alarmed &^= bit
		}
		if c.stat[i] < h {
			continue
		}
		c.stat[i] = h
		if c.alarmed&bit == 0 {
			c.alarmed |= bit
			fired |= bit
		}
	}
	return fired
}

// Alarms are those that last at a moment.
func (c *Cusum) Alarms(at time.Duration) Alarm {
	spent := max(0, at-c.last).Seconds()
	out := c.alarmed
	for i, r := range Ratios {
		if c.stat[i]-c.base.Lambda*(r-1)*spent/c.base.Phi < rearm*c.base.threshold() {
			out &^= 1 << i
		}
	}
	return out
}

// Statistic is how far the test of Ratios[i] is from an alarm: 1 is there.
func (c *Cusum) Statistic(i int) float64 { return c.stat[i] / c.base.threshold() }

// SetBaseline changes what counts as normal, and reports whether it did: while an alarm
// lasts the baseline stays, or the new load would soon count as normal.
func (c *Cusum) SetBaseline(at time.Duration, b Baseline) bool {
	if c.Alarms(at) != 0 {
		return false
	}
	b = b.sane()
	for i := range c.stat {
		c.stat[i] *= b.threshold() / c.base.threshold()
	}
	c.base = b
	return true
}
