package site

import (
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/event"
)

// Action is something for the node to do. The types in this file are all.
type Action interface{ action() }

type (
	// Start makes a container, from a checkpoint if there is one; answered by
	// StartFailed, or by nothing and later ReplicaReady or ReplicaExited. From is
	// detect.TierPrepared for the one that Prepare was asked for: its gate is opened, as
	// soon as it stands there.
	Start struct {
		ID   ReplicaID
		From detect.Tier
	}
	// Stop ends it; answered by ReplicaExited. Also for one whose start is
	// still under way. Kill: without asking it first.
	Stop struct {
		ID   ReplicaID
		Kill bool
	}
	// Descend puts a replica to sleep on a tier (frozen, reclaimed, checkpointed);
	// answered by Descended or DescendFailed, unless Ascend comes before that.
	Descend struct {
		ID   ReplicaID
		Tier detect.Tier
	}
	// Ascend makes a replica run that sleeps or is on its way there, as soon as it
	// can be; answered by Ascended or StartFailed.
	Ascend struct{ ID ReplicaID }
	// Prepare makes a container up to the gate before exec; answered by Prepared or
	// PrepareFailed.
	Prepare struct{ ID ReplicaID }
	// Unprepare throws it away, whether it stands there yet or not. Not answered.
	Unprepare struct{ ID ReplicaID }
	// Publish writes View() to the data path.
	Publish struct{}
	// Release puts the held packets back on the wire that have a listener.
	Release struct{}
	// Refuse does so with the data path refusing: their clients get a RST.
	Refuse struct{}
	// Recheck reads the replica's counters; answered by Rechecked.
	Recheck struct{ ID ReplicaID }
	// Watch waits for the replica's last connection to end; answered by Emptied, at
	// once if there is none.
	Watch struct{ ID ReplicaID }
	// ArmStart sets the timer of a replica's start, instead of one that is set.
	ArmStart struct {
		ID    ReplicaID
		After time.Duration
	}
	// ArmPortGrace does so for the time of grace that its ports have.
	ArmPortGrace struct {
		ID    ReplicaID
		After time.Duration
	}
	// ArmIdle does so for its idleness.
	ArmIdle struct {
		ID    ReplicaID
		After time.Duration
	}
	// ArmConns does so for the connections of its own that a sleeping replica holds;
	// answered by ConnsHeld.
	ArmConns struct {
		ID    ReplicaID
		After time.Duration
	}
	// ArmLife does so for its lifetime. Jitter is for the node to add.
	ArmLife struct {
		ID    ReplicaID
		After time.Duration
	}
	// ArmDrain does so for its draining.
	ArmDrain struct {
		ID    ReplicaID
		After time.Duration
	}
	// ArmSpare does so for the site's next spare replica; answered by SpareDue.
	ArmSpare struct{ After time.Duration }
	// ArmBackoff does so for the site's backoff.
	ArmBackoff struct{ After time.Duration }
	// Note tells people what was decided, and why.
	Note struct {
		Kind    event.Kind
		Replica ReplicaID // 0: the site as a whole
		Reason  string
		Detail  string // more than the reason, for the event log
		Failure bool
	}
	// Gone means: the site was deleted and nothing of it is left.
	Gone struct{}
)

func (Start) action()        {}
func (Stop) action()         {}
func (Descend) action()      {}
func (Ascend) action()       {}
func (Prepare) action()      {}
func (Unprepare) action()    {}
func (Publish) action()      {}
func (Release) action()      {}
func (Refuse) action()       {}
func (Recheck) action()      {}
func (Watch) action()        {}
func (ArmStart) action()     {}
func (ArmPortGrace) action() {}
func (ArmIdle) action()      {}
func (ArmConns) action()     {}
func (ArmLife) action()      {}
func (ArmDrain) action()     {}
func (ArmSpare) action()     {}
func (ArmBackoff) action()   {}
func (Note) action()         {}
func (Gone) action()         {}
