package site

import (
	"time"

	"github.com/fcnode/fcnode/detect"
)

// State is what one replica is doing.
type State string

// The states of a replica.
const (
	Starting   State = "starting"   // being made, or not listening yet
	Ready      State = "ready"      // takes flows
	Closing    State = "closing"    // its counters are read once more before it sleeps or ends
	Suspending State = "suspending" // on its way to the tier where it is to sleep
	Asleep     State = "asleep"
	Resuming   State = "resuming" // being made to run again
	Draining   State = "draining" // keeps its connections and gets no new ones
	Stopping   State = "stopping"
)

// Replica is one of the machine's replicas.
type Replica struct {
	ID      ReplicaID
	State   State
	Tier    detect.Tier // on which it sleeps; detect.TierRunning while it does not
	ReadyAt time.Time   // zero until it was ready once
	Reason  string      // why it is being closed, drained or stopped

	target detect.Tier // where it is being put, or was
	given  detect.Tier // the deepest tier that could not be reached: not tried again before the next visitor

	role     role
	origin   origin
	ports    listening
	cause    cause     // why it is being closed, or drained
	then     aftermath // what follows when it has gone
	old      bool      // it is to be replaced, though it may still be to replace another
	living   bool      // its lifetime has begun
	unproven bool      // it was restored, and has not answered anybody yet
	work     work      // that keeps it awake
	lingered bool      // handshakes that were under way when its draining began have had their time
	visit    visit
}

// visit is what a replica that a packet has woken waits for: somebody who uses it.
// A packet proves nothing, so without him it does not stay awake for long.
type visit struct {
	due   bool
	since time.Time // when the packet came, or the replica could be used first: what is used later is used by a visitor
	by    time.Time // of no meaning until the replica can be used
}

// role is what a replica is there for.
type role uint8

const (
	roleServing role = iota // it gets new flows, or will
	roleSpare               // kept for when it is needed, and gets no packets
	roleNext                // to replace an old one, and serving from then on
)

// origin is how it came to serve, as long as that says what its failure means.
type origin uint8

const (
	originStart   origin = iota
	originFound          // an earlier daemon has started it, and may have told it to end
	originJoining        // it was a spare one, and does not run yet
	originLent           // it was a spare one
)

// listening is who listens on its ports.
type listening uint8

const (
	portsWaited  listening = iota // nobody on some of them, which visitors are held for
	portsAll                      // somebody on each
	portsGivenUp                  // nobody on some, and they are no longer waited for
)

// cause is why a replica is being closed, or drained.
type cause uint8

const (
	causeAsked   cause = iota // somebody wants it so, or another replaces it
	causeIdle                 // nobody came
	causeSurplus              // fewer are needed: it may become the spare one
)

// aftermath is what follows when a replica has gone.
type aftermath uint8

const (
	thenNothing aftermath = iota
	thenStart             // another one is started
	thenPrepare           // another one is prepared
)

func newReplica(id ReplicaID) *Replica {
	return &Replica{ID: id, State: Starting, Tier: detect.TierRunning, target: detect.TierRunning, given: detect.TierRunning}
}

func (r *Replica) alive() bool {
	return r.State != Draining && r.State != Stopping
}

// Serves says whether it gets new flows, or will as soon as it listens.
func (r *Replica) Serves() bool {
	return r.role != roleSpare && (r.State == Starting || r.State == Ready || r.State == Resuming)
}

// Spare says that it is kept for scaling out, or for the next circulation.
func (r *Replica) Spare() bool { return r.role == roleSpare }

// Joining says that it was a spare one, and is made to run.
func (r *Replica) Joining() bool { return r.origin == originJoining }
