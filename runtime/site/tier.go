package site

import (
	"slices"
	"time"
)

// Tier says how deeply a replica sleeps.
type Tier string

// The tiers, from the lightest sleep to none of the replica being left.
const (
	TierRunning      Tier = "" // awake
	TierFrozen       Tier = "frozen"
	TierReclaimed    Tier = "reclaimed"
	TierPrepared     Tier = "prepared"
	TierCheckpointed Tier = "checkpointed"
	TierCold         Tier = "cold"
)

var depths = []Tier{TierRunning, TierFrozen, TierReclaimed, TierPrepared, TierCheckpointed, TierCold}

// Depth orders the tiers.
func (t Tier) Depth() int { return slices.Index(depths, t) }

// stays says whether a replica on the tier keeps its place in the data path: its
// processes are there, and a packet to it makes the node thaw them.
func (t Tier) stays() bool { return t == TierFrozen || t == TierReclaimed }

// Rung is a tier, and how long a site must have been idle to be put there.
type Rung struct {
	Tier  Tier
	After time.Duration
}

// nextRung is the first one deeper than a tier.
func (p Policy) nextRung(below Tier) (Rung, bool) {
	for _, r := range p.Ladder {
		if r.Tier.Depth() > below.Depth() {
			return r, true
		}
	}
	return Rung{}, false
}

// rung is the ladder's for a tier, if it has one.
func (p Policy) rung(t Tier) (Rung, bool) {
	for _, r := range p.Ladder {
		if r.Tier == t {
			return r, true
		}
	}
	return Rung{}, false
}

// allows says whether the ladder has the tier.
func (p Policy) allows(t Tier) bool {
	_, ok := p.rung(t)
	return ok
}
