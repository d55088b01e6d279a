package detect

import (
	"math"
	"time"

	"github.com/fcnode/fcnode/detect/internal/figure"
)

// flow learns for how long a connection stays (Little: connections = rate × stay) while
// the load is as usual. When the rate rises, connections that stay long rise only later: the
// rate says now how many there will be.
type flow struct {
	conns, rate float64
	last        time.Duration
	weight      float64
}

const (
	flowHalfLife = 30 * time.Second
	flowEnough   = 20 // arrivals, before the stay is believed
)

func (f *flow) observe(at time.Duration, sig *Signals) {
	dt := at - f.last
	f.last = at
	if sig.Alarm != 0 || dt <= 0 || f.weight == 0 && dt > time.Minute {
		f.weight = max(f.weight, math.SmallestNonzeroFloat64)
		return
	}
	keep := math.Exp2(-dt.Seconds() / flowHalfLife.Seconds())
	f.conns = f.conns*keep + sig.conns()*dt.Seconds()
	f.rate = f.rate*keep + figure.Positive(sig.Arrivals)*dt.Seconds()
	f.weight = f.weight*keep + dt.Seconds()
}

// expect is how many connections there will be at the rate of now. It is only asked
// while an alarm lasts, and goes no further than twice what that says.
func (f *flow) expect(sig *Signals) float64 {
	now := sig.conns()
	if sig.Alarm == 0 || f.rate < flowEnough {
		return now
	}
	stay := f.conns / f.rate
	usual := f.conns / f.weight
	return max(now, min(figure.Positive(sig.Arrivals)*stay, 2*sig.Alarm.Ratio()*usual))
}

// answers adds up what few answers say: a site with three answers a second has no p99 of a
// look, but one of a minute.
type answers struct {
	count, over float64
	last        time.Duration
}

// answersHalfLife is for how long an answer counts.
const answersHalfLife = 30 * time.Second

// observe takes a look's answers into account. Looks may overlap; what lies closer than
// half of one to the last is left out.
func (a *answers) observe(at time.Duration, sig *Signals, target time.Duration) {
	l := sig.Latency
	if target <= 0 || l.Samples == 0 || a.last != 0 && at-a.last < look/2 {
		return
	}
	if a.last != 0 {
		keep := math.Exp2(-max(0, at-a.last).Seconds() / answersHalfLife.Seconds())
		a.count, a.over = a.count*keep, a.over*keep
	}
	a.last = at
	n := float64(l.Samples)
	a.count += n
	switch {
	case l.P50 > target:
		a.over += n / 2
	case l.P99 > target:
		a.over += max(1, n/100)
	}
}

// slow says that more than one in a hundred took too long, and that it is not chance: by
// more than two standard deviations of the one that is allowed.
func (a *answers) slow() bool {
	allowed := a.count / 100
	return a.count >= fewAnswers && a.over > allowed+2*math.Sqrt(allowed)
}
