package site

import (
	"time"

	"github.com/fcnode/fcnode/detect"
)

// Event is something that happened to a site. The types in this file are all.
type Event interface {
	// on says what the event means to a site, and changes its machine.
	on(m *Machine, now time.Time) []Action
}

type (
	// PacketHeld means: a visitor's first packet is held.
	PacketHeld struct{}
	// Knocked means: a packet reached a replica that sleeps, or is about to. The
	// kernel of its namespace answers what it can; the application has to run.
	// Outdated says why the replica is to be replaced nevertheless; empty: it is not.
	Knocked struct {
		ID       ReplicaID
		Outdated string
	}
	// Outdated means: what a replica that sleeps, or waits at its gate, has mounted is
	// something else on the node by now.
	Outdated struct {
		ID     ReplicaID
		Reason string
	}
	// WakeAsked means: somebody (an operator, scale.min) wants the site to run.
	WakeAsked struct{ Reason string }
	// ParkAsked means: somebody wants it to sleep. With Force connections are cut,
	// without it the caller has made sure there are none.
	ParkAsked struct {
		Reason string
		Force  bool
		Tier   detect.Tier // empty: checkpointed if the ladder has that, else cold
	}
	// ReplicaReady means: somebody listens on a port; All: on every one, for every
	// family.
	ReplicaReady struct {
		ID  ReplicaID
		All bool
	}
	// PortClosed means: nobody listens on one of its ports any more.
	PortClosed struct{ ID ReplicaID }
	// PortGraceOver means: ports that nobody listens on had their time.
	PortGraceOver struct{ ID ReplicaID }
	// StartFailed means: no container could be made, or it did not execute, or a
	// sleeping one cannot be made to run. The replica is gone.
	StartFailed struct {
		ID     ReplicaID
		Reason string
	}
	// StartTimedOut means: the start took too long, or nobody listened in time. Reason
	// is what is known of why; empty: nothing.
	StartTimedOut struct {
		ID     ReplicaID
		Reason string
	}
	// ReplicaExited means: the container's init has ended, by itself or because it
	// was told to, and all that the node kept for it is gone.
	ReplicaExited struct {
		ID     ReplicaID
		Reason string
	}
	// IdleOver means: the idle timer fired; the counters are of that moment. Busy is what
	// the replica does though it has no visitors; empty: nothing.
	IdleOver struct {
		ID      ReplicaID
		Conns   uint64        // and flows of UDP that last
		IdleFor time.Duration // since it was used last
		Arrived time.Duration // since somebody came last, of whom it is not known yet whether he is a visitor; 0: nobody
		Busy    string
	}
	// Rechecked means: the counters after new flows were held back, or the replica
	// was marked as asleep.
	Rechecked struct {
		ID      ReplicaID
		Conns   uint64
		Flows   uint64        // of UDP, that last; whoever asks for its sleep may end them, as nobody can close them
		IdleFor time.Duration // since it was used last
		Arrived time.Duration // since somebody came last, of whom it is not known yet whether he is a visitor; 0: nobody
	}
	// Descended means: the replica has arrived on the tier. After checkpointed its
	// processes are still there, frozen.
	Descended struct {
		ID   ReplicaID
		Tier detect.Tier
	}
	// DescendFailed means: it has not, and is as it was before.
	DescendFailed struct {
		ID     ReplicaID
		Tier   detect.Tier
		Reason string
	}
	// ConnsHeld means: a sleeping replica has held so many connections of its own for as
	// long as it may.
	ConnsHeld struct {
		ID  ReplicaID
		Own int
	}
	// Evicted means: all sites hold more memory than they may, and the replica, which
	// sleeps, is to give its own back before its time.
	Evicted struct {
		ID     ReplicaID
		Tier   detect.Tier
		Reason string
	}
	// Ascended means: a replica that slept, or was on its way there, runs.
	Ascended struct{ ID ReplicaID }
	// Prepared means: a container waits at its gate.
	Prepared struct{ ID ReplicaID }
	// PrepareFailed means: it does not, or does so no more. Nothing of it is left.
	PrepareFailed struct {
		ID     ReplicaID
		Reason string
		NoRoom bool // it had to make room for another site's
	}
	// PrepareAsked means: the site slept prepared, and what waited at its gate has
	// ended with an earlier daemon.
	PrepareAsked struct{}
	// Restored means: the replica comes from an image. It has not answered anybody yet.
	Restored struct{ ID ReplicaID }
	// Answered means: it has, for the first time.
	Answered struct{ ID ReplicaID }
	// Unresponsive means: a restored replica does not serve: nobody listens, or those
	// who came get no answer.
	Unresponsive struct {
		ID     ReplicaID
		Reason string
	}
	// Unhealthy means: a replica that serves does not do it well.
	Unhealthy struct {
		ID     ReplicaID
		Reason string
	}
	// BackoffOver means: after failures, the time of refusing (or of trying no more
	// replicas beside those that run) is over.
	BackoffOver struct{}
	// SpecChanged means: what runs is not what the spec says any more. Apart: the
	// ports have changed, so that old and new replicas cannot stand side by side.
	SpecChanged struct{ Apart bool }
	// CirculateAsked means: replace what runs by fresh replicas.
	CirculateAsked struct{ Reason string }
	// LifeOver means: the replica has lived for as long as it is to.
	LifeOver struct{ ID ReplicaID }
	// SpareDue means: the time has come for a spare replica that is missing.
	SpareDue struct{}
	// Emptied means: a draining replica has no connection any more, and no flow of UDP.
	Emptied struct{ ID ReplicaID }
	// DrainOver means: it had its time.
	DrainOver struct{ ID ReplicaID }
	// ScaleAsked means: so many replicas are to serve. Beyond the policy's bounds
	// it is the bound.
	ScaleAsked struct {
		Want   int
		Reason string
	}
	// AllAdopted means: every replica that an earlier daemon left is in the
	// machine.
	AllAdopted struct{}
	// Deleted means: the site is to go.
	Deleted struct{}
)
