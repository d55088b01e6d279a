package detect

import (
	"math"
	"time"
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
	f.rate = f.rate*keep + positive(sig.Arrivals)*dt.Seconds()
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
	return max(now, min(positive(sig.Arrivals)*stay, 2*sig.Alarm.Ratio()*usual))
}
