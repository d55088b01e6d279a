package detect

import (
	"math"
	"time"

	"github.com/fcnode/fcnode/detect/internal/figure"
)

// ActionCosts are what changing a site costs, measured on it. 0: not measured.
type ActionCosts struct {
	Limit    time.Duration // writing a limit
	OutSpare time.Duration // a replica that sleeps or stands prepared serves again
	Out      time.Duration // a new replica is made, until it serves
	In       time.Duration // a replica is drained and stopped: the work, not the wait
}

// What is assumed until something was measured.
const (
	costLimit    = 100 * time.Microsecond
	costOutSpare = 5 * time.Millisecond
	costOut      = 100 * time.Millisecond
	costIn       = 20 * time.Millisecond
)

func (c ActionCosts) complete() ActionCosts {
	set := func(d *time.Duration, otherwise time.Duration) {
		if *d <= 0 {
			*d = otherwise
		}
	}
	set(&c.Limit, costLimit)
	set(&c.OutSpare, costOutSpare)
	set(&c.Out, costOut)
	set(&c.In, costIn)
	return c
}

const (
	// duty is the share of the time that may go into changing things back and forth.
	duty = 0.03
	// regret is what a look may cost through acting on noise, on average.
	regret = time.Millisecond
	// A limit costs next to nothing to change, but its use swings with each page.
	minHold = 5 * time.Second
	maxHold = 10 * time.Minute
)

// hold is for how long a thing that was taken must have been unneeded before it is
// given back, when giving back and taking again costs so much. A cycle then takes no
// more than this share (duty) of its time.
func hold(cost time.Duration) time.Duration {
	return min(max(figure.Seconds(cost.Seconds()/duty), minHold), maxHold)
}

// margin is how many standard deviations of noise a load must be beyond what the
// replicas carry before the action is worth it. Noise exceeds z deviations with
// probability exp(-z²/2) at most, so with z² = 2 ln(1+cost/regret) acting on noise costs
// at most regret a look: cheap actions may be wrong often, dear ones hardly ever.
func margin(cost time.Duration) float64 {
	return math.Sqrt(2 * math.Log1p(cost.Seconds()/regret.Seconds()))
}
