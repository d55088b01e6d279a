package sleep

import (
	"fmt"
	"math"
	"time"

	"github.com/fcnode/fcnode/detect/internal/figure"
)

// Class is the service level that sites share: of all their requests on a node, no
// more than Late wait for longer than Over. Each, if not 0, bounds the same share for
// every site of the class by itself.
type Class struct {
	Late float64
	Over time.Duration
	Each float64
}

// eachNeeds is how many late requests a day a bound must allow: with fewer there is
// nothing to steer by.
const eachNeeds = 3

// Admit says whether a site with so many visits a day can be held to the class's
// bound for each site. With fewer visits than 3/each only being always awake would hold
// it, and the error says what that costs.
func (c Class) Admit(visitsADay float64, running Option) error {
	if c.Each <= 0 || visitsADay*c.Each >= eachNeeds {
		return nil
	}
	return fmt.Errorf("each: %s %% of its requests cannot be held for a site with %s visits a day (it takes %s): "+
		"a single late visit is more than that. Only a site that never sleeps holds it, which costs %s all day: say `idle: never`, or leave `each` out",
		figure.Number(100*c.Each), figure.Number(visitsADay), figure.Number(math.Ceil(eachNeeds/c.Each)), figure.Bytes(running.Memory))
}

const (
	// ownStep is how much dearer a site's waiting gets for itself with a late request.
	ownStep = 0.25
	mostOwn = 7 // e^7: a thousand times
)

// Observe takes a site's requests into account, if the class bounds each site: one whose
// own share is too large is dearer than its class until it is not.
func (c Class) Observe(s *State, requests, late uint64) {
	if c.Each <= 0 {
		s.Own = 0
		return
	}
	step := ownStep * (float64(min(late, requests)) - c.Each*float64(requests))
	s.Own = float32(figure.Clamp(float64(s.Own)+step, 0, mostOwn, 0))
}

// Visit is the price of a second of waiting at a site, of its class's.
func (s *State) Visit(class float64) float64 { return class * math.Exp(float64(s.Own)) }
