package site

import (
	"time"

	"github.com/fcnode/fcnode/detect"
)

// stays says whether a replica on the tier keeps its place in the data path: its
// processes are there, and a packet to it makes the node thaw them.
func stays(t detect.Tier) bool { return t == detect.TierFrozen || t == detect.TierReclaimed }

// Rung is a tier, and how long a site must have been idle to be put there.
type Rung struct {
	Tier  detect.Tier
	After time.Duration
}

// nextRung is the first one deeper than a tier.
func (p Policy) nextRung(below detect.Tier) (Rung, bool) {
	for _, r := range p.Ladder {
		if r.Tier.Depth() > below.Depth() {
			return r, true
		}
	}
	return Rung{}, false
}

// rung is the ladder's for a tier, if it has one.
func (p Policy) rung(t detect.Tier) (Rung, bool) {
	for _, r := range p.Ladder {
		if r.Tier == t {
			return r, true
		}
	}
	return Rung{}, false
}

// allows says whether the ladder has the tier.
func (p Policy) allows(t detect.Tier) bool {
	_, ok := p.rung(t)
	return ok
}
