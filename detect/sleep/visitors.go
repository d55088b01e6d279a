package sleep

import (
	"math"
	"time"

	"github.com/fcnode/fcnode/detect/change"
	"github.com/fcnode/fcnode/detect/internal/figure"
)

// Visitors is what a site's visitors have taught about when it may sleep. It is small,
// and its fields are there so that the node can keep it over its own end. The zero value is
// ready.
type Visitors struct {
	Requests float64       `json:"requests"`          // lately, see visitorsHalfLife
	Seconds  float64       `json:"seconds"`           // in which they came
	Asleep   float64       `json:"asleep,omitempty"`  // of them: found it asleep, and could notice
	Timeout  time.Duration `json:"timeout,omitempty"` // steered, for Share
	Share    float64       `json:"share,omitempty"`
}

const (
	visitorsHalfLife = 7 * 24 * time.Hour
	// Before so many requests the controller has not moved far, and the closed form for the
	// rate that was seen knows more.
	visitorsEnough = 200
)

// Observe takes requests into account that came in a span of time, of which so many
// found the site asleep on a tier whose wake is Noticeable. share is the objective's, 0 for none.
// A good moment for it is the end of a wake, with all that came since the last one.
func (v *Visitors) Observe(requests, asleep uint64, span time.Duration, share float64) {
	v.sane()
	span = max(0, span)
	decay := math.Exp2(-span.Seconds() / visitorsHalfLife.Seconds())
	v.Requests = v.Requests*decay + float64(requests)
	v.Seconds = v.Seconds*decay + span.Seconds()
	v.Asleep = v.Asleep*decay + float64(min(asleep, requests))
	if !(share > 0) {
		v.Timeout, v.Share = 0, 0
		return
	}
	if v.Timeout <= 0 || v.Share != share {
		v.Timeout, v.Share = IdleTimeoutUnknown(v.Rate(), share), share
	}
	c := NewIdleControl(share, v.Timeout)
	c.Observe(requests, asleep)
	// While memory is cheap the ladder lets the site sleep later than this, and nobody is
	// cold: the timeout must not run away to nothing meanwhile.
	v.Timeout = max(c.Timeout(), IdleTimeoutUnknown(v.Rate(), share)/4)
}

// sane drops what a file may have made of the figures.
func (v *Visitors) sane() {
	v.Requests, v.Seconds, v.Asleep, v.Share = figure.Positive(v.Requests), figure.Positive(v.Seconds), figure.Positive(v.Asleep), figure.Positive(v.Share)
	v.Timeout = max(0, v.Timeout)
}

// Rate is what is known of how often they come.
func (v *Visitors) Rate() change.Gamma {
	prior := new(change.Rate).Posterior()
	return change.Gamma{Shape: figure.Positive(v.Requests) + prior.Shape, Seconds: figure.Positive(v.Seconds) + prior.Seconds}
}

// Tell puts what is known into the choice of a ladder.
func (v *Visitors) Tell(in *LadderInput) {
	in.Rate = v.Rate()
	if v.Requests >= visitorsEnough && v.Share == in.Objective.Cold {
		in.Timeout = v.Timeout
	}
}
