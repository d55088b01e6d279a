package sleep

import (
	"math"
	"time"

	"github.com/fcnode/fcnode/detect/internal/figure"
)

// Pressure is the price of memory under a budget: the same plans, with dearer
// memory. The zero value is ready.
type Pressure struct {
	Log float64 `json:"log"` // of how many times as dear as usual memory is
}

const (
	// pressureAim is how much of the budget plans may fill: what is above it is for
	// wakes, so that these need not evict.
	pressureAim = 0.9
	// pressureOver is how long memory has to be a tenth of the budget above the aim
	// until it is e times as dear.
	pressureOver = 10 * time.Minute
	// Bounds of the price. What is within the budget is there to be used, so memory
	// may also be cheaper than it would be without one.
	leastPressure = 1e-3
	mostPressure  = 1e5
)

// Observe takes into account that so much of a budget was in use for a time.
func (p *Pressure) Observe(span time.Duration, used, budget float64) {
	if !(budget > 0) || span <= 0 {
		return
	}
	excess := figure.Clamp(used/budget-pressureAim, -pressureAim, 1, 0)
	step := excess / 0.1 * span.Seconds() / pressureOver.Seconds()
	p.Log = figure.Clamp(p.Log+figure.Clamp(step, -1, 1, 0), math.Log(leastPressure), math.Log(mostPressure), 0)
}

// Memory is the price of a GiB for a second, for Prices.
func (p *Pressure) Memory() float64 { return math.Exp(p.Log) }

// Bound says that the budget decides: memory is dearer than it would be without.
func (p *Pressure) Bound() bool { return p.Log > 0 }
