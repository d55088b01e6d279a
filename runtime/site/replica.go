package site

import (
	"time"

	"github.com/fcnode/fcnode/detect"
)

// State is what one replica is doing.
type State string

// The states of a replica.
const (
	Starting State = "starting" // being made, or not listening yet
	Ready    State = "ready"    // takes flows
	Closing  State = "closing"  // its counters are read once more before it sleeps or ends
	Sinking  State = "sinking"  // on its way to the tier where it is to sleep
	Asleep   State = "asleep"
	Rising   State = "rising"   // being made to run again
	Draining State = "draining" // keeps its connections and gets no new ones
	Stopping State = "stopping"
)

// Replica is one of the machine's replicas.
type Replica struct {
	ID      ReplicaID
	State   State
	Tier    detect.Tier // on which it sleeps; detect.TierRunning while it does not
	ReadyAt time.Time   // zero until it was ready once
	Reason  string      // why it is being closed, drained or stopped

	target   detect.Tier // where it is being put, or was
	given    detect.Tier // the deepest tier that could not be reached: not tried again before the next visitor
	all      bool        // somebody listens on each of its ports
	forced   bool        // ports nobody listens on are no longer waited for
	idle     bool        // it is being closed because it was idle
	again    bool        // start another one when it has gone
	prepare  bool        // prepare another one when it has gone
	old      bool        // it is to be replaced
	next     bool        // it is to replace one
	spare    bool        // it is kept for when it is needed, and gets no packets
	joining  bool        // it was a spare one, and does not run yet
	lent     bool        // it was a spare one
	keep     bool        // it drains because fewer are needed, and may become the spare one
	living   bool        // its lifetime has begun
	found    bool        // an earlier daemon has started it, and may have told it to end
	unproven bool        // it was restored, and has not answered anybody yet
	lingered bool        // handshakes that were under way when its draining began have had their time
}

func newReplica(id ReplicaID) *Replica {
	return &Replica{ID: id, State: Starting, Tier: detect.TierRunning, target: detect.TierRunning, given: detect.TierRunning}
}

func (r *Replica) alive() bool {
	return r.State != Draining && r.State != Stopping
}

// Serves says whether it gets new flows, or will as soon as it listens.
func (r *Replica) Serves() bool {
	return !r.spare && (r.State == Starting || r.State == Ready || r.State == Rising)
}

// Spare says that it is kept for scaling out, or for the next circulation.
func (r *Replica) Spare() bool { return r.spare }

// Joining says that it was a spare one, and is made to run.
func (r *Replica) Joining() bool { return r.joining }
