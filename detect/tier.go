package detect

// Tier is how awake a replica is. The words are those of the rest of fcnode.
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
