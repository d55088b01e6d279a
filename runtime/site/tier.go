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

func (p Policy) least() int { return max(1, p.Min) }
func (p Policy) most() int  { return max(p.least(), p.Max) }

// backoffTime after so many failures in a row.
func (p Policy) backoffTime(failures int) time.Duration {
	wait := p.BackoffMin
	for i := 1; i < failures && wait < p.BackoffMax; i++ {
		wait *= 2
	}
	return min(wait, p.BackoffMax)
}

// sparePause grows with each spare that came to nothing.
func (p Policy) sparePause(failures int) time.Duration {
	wait := p.Stable
	for i := 0; i < failures && wait < p.BackoffMax; i++ {
		wait *= 2
	}
	return max(p.Stable, min(wait, p.BackoffMax))
}

// room is how many of the replicas that scaling out may add are to stand ready.
func (p Policy) room(serving int) int { return max(0, min(p.Spares, p.most()-serving)) }

func (p Policy) wantFrozen(serving int) int {
	want := 0
	if p.SpareTier == detect.TierFrozen {
		want = p.room(serving)
	}
	if p.Ahead && p.Overlap {
		want = max(want, 1)
	}
	return want
}

func (p Policy) wantGates(serving int) int {
	if p.SpareTier == detect.TierPrepared {
		return p.room(serving)
	}
	return 0
}
