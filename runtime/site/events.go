package site

import "time"

// Event is something that happened to a site. The types in this file are all.
type Event interface{ event() }

type (
	// PacketHeld means: a visitor's first packet is held.
	PacketHeld struct{}
	// WakeAsked means: somebody (an operator, scale.min) wants the site to run.
	WakeAsked struct{ Reason string }
	// ParkAsked means: somebody wants it to sleep. With Force connections are cut,
	// without it the caller has made sure there are none.
	ParkAsked struct {
		Reason string
		Force  bool
	}
	// ReplicaReady means: somebody listens on a port; All: on every one, for every
	// family.
	ReplicaReady struct {
		ID  ReplicaID
		All bool
	}
	// SettleOver means: ports that nobody listens on had their time.
	SettleOver struct{ ID ReplicaID }
	// StartFailed means: no container could be made, or it did not execute. The
	// replica is gone.
	StartFailed struct {
		ID     ReplicaID
		Reason string
	}
	// StartTimedOut means: the start took too long, or nobody listened in time.
	StartTimedOut struct{ ID ReplicaID }
	// ReplicaExited means: the container's init has ended, by itself or because it
	// was told to, and all that the node kept for it is gone.
	ReplicaExited struct {
		ID     ReplicaID
		Reason string
	}
	// IdleOver means: the idle timer fired; the counters are of that moment.
	IdleOver struct {
		ID      ReplicaID
		Conns   uint64
		IdleFor time.Duration
	}
	// Rechecked means: the counters after new flows were held back.
	Rechecked struct {
		ID      ReplicaID
		Conns   uint64
		IdleFor time.Duration
	}
	// BackoffOver means: after failures, the time of refusing is over.
	BackoffOver struct{}
	// SpecChanged means: what runs is not what the spec says any more.
	SpecChanged struct{}
	// Deleted means: the site is to go.
	Deleted struct{}
)

func (PacketHeld) event()    {}
func (WakeAsked) event()     {}
func (ParkAsked) event()     {}
func (ReplicaReady) event()  {}
func (SettleOver) event()    {}
func (StartFailed) event()   {}
func (StartTimedOut) event() {}
func (ReplicaExited) event() {}
func (IdleOver) event()      {}
func (Rechecked) event()     {}
func (BackoffOver) event()   {}
func (SpecChanged) event()   {}
func (Deleted) event()       {}

// Action is something for the node to do. The types in this file are all.
type Action interface{ action() }

type (
	// Start makes a container; answered by StartFailed, or by nothing and
	// later ReplicaReady or ReplicaExited.
	Start struct{ ID ReplicaID }
	// Stop ends it; answered by ReplicaExited. Also for one whose start is
	// still under way.
	Stop struct{ ID ReplicaID }
	// Publish writes View() to the data path.
	Publish struct{}
	// Release puts the held packets back on the wire that have a listener.
	Release struct{}
	// Refuse does so with the data path refusing: their clients get a RST.
	Refuse struct{}
	// Recheck reads the replica's counters; answered by Rechecked.
	Recheck struct{ ID ReplicaID }
	// ArmStart sets the timer of a replica's start, instead of one that is set.
	ArmStart struct {
		ID    ReplicaID
		After time.Duration
	}
	// ArmSettle does so for the time that its ports have to settle.
	ArmSettle struct {
		ID    ReplicaID
		After time.Duration
	}
	// ArmIdle does so for its idleness.
	ArmIdle struct {
		ID    ReplicaID
		After time.Duration
	}
	// ArmBackoff does so for the site's backoff.
	ArmBackoff struct{ After time.Duration }
	// Note tells people what was decided, and why.
	Note struct {
		Kind    string
		Replica ReplicaID // 0: the site as a whole
		Reason  string
		Detail  string // more than the reason, for the journal
		Failure bool
	}
	// Forget means: the site was deleted and nothing of it is left.
	Forget struct{}
)

func (Start) action()      {}
func (Stop) action()       {}
func (Publish) action()    {}
func (Release) action()    {}
func (Refuse) action()     {}
func (Recheck) action()    {}
func (ArmStart) action()   {}
func (ArmSettle) action()  {}
func (ArmIdle) action()    {}
func (ArmBackoff) action() {}
func (Note) action()       {}
func (Forget) action()     {}
