package detect

import "slices"

// Tier is how awake a replica is.
type Tier string

// The tiers from awake to gone.
const (
	TierRunning      Tier = "running"
	TierFrozen       Tier = "frozen"
	TierReclaimed    Tier = "reclaimed"
	TierPrepared     Tier = "prepared"
	TierCheckpointed Tier = "checkpointed"
	TierCold         Tier = "cold"
)

// Tiers are those to sleep on, in the order of depth.
var Tiers = [...]Tier{TierFrozen, TierReclaimed, TierPrepared, TierCheckpointed, TierCold}

// Depth orders the tiers: 0 is running, each deeper one is 1 more; -1: no tier.
func (t Tier) Depth() int {
	if t == TierRunning {
		return 0
	}
	if i := slices.Index(Tiers[:], t); i >= 0 {
		return i + 1
	}
	return -1
}
