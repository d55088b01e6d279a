package site

import (
	"fmt"
	"slices"
	"time"
)

// ReplicaID names a replica; see bpf.ReplicaID.
type ReplicaID uint32

// Phase is what the site as a whole is doing.
type Phase string

// The phases of a site.
const (
	Parked  Phase = "parked"
	Waking  Phase = "waking"
	Running Phase = "running"
	Parking Phase = "parking"
	Backoff Phase = "backoff"
)

// State is what one replica is doing.
type State string

// The states of a replica.
const (
	Starting State = "starting" // being made, or not listening yet
	Ready    State = "ready"    // takes flows
	Closing  State = "closing"  // new flows are held, its counters are read once more
	Stopping State = "stopping"
)

// Policy is what the machine needs to know of a site's spec and of the node's
// configuration. All durations are positive.
type Policy struct {
	Min          int           // replicas kept even without visitors
	Idle         time.Duration // without connections for so long: park; 0: never
	StartTimeout time.Duration // to the first listen()
	Settle       time.Duration // from the first listening port to giving up on the others
	Stable       time.Duration // a replica that lived so long as ready is no crash loop
	BackoffMin   time.Duration // after the first failure; doubles with each
	BackoffMax   time.Duration
}

// Replica is one of the machine's replicas.
type Replica struct {
	ID      ReplicaID
	State   State
	ReadyAt time.Time // zero until it was ready once
	Reason  string    // why it is being closed or stopped
	all     bool      // somebody listens on each of its ports
	idle    bool      // it is being closed because it was idle
	again   bool      // start another one when it has gone
}

// Machine is the state of one site. It is not safe for concurrent use: the
// node serialises the events of a site.
type Machine struct {
	policy   Policy
	newID    func() ReplicaID
	replicas []*Replica
	failures int  // in a row
	backoff  bool // refusing until BackoffOver; never while a replica is alive
	deleted  bool
	forgot   bool // Forget was said
	forced   bool // ports nobody listens on are no longer waited for
	waiting  bool // packets may be held that were neither released nor refused
	byHand   bool // somebody parked it: scale.min does not wake it again
}

// New makes the machine of a parked site. newID allocates replica ids.
func New(p Policy, newID func() ReplicaID) *Machine {
	return &Machine{policy: p, newID: newID}
}

// Adopt puts a replica into the machine that an earlier daemon had started.
// It returns what is to be armed for it.
func (m *Machine) Adopt(now time.Time, id ReplicaID, ready bool) []Action {
	r := &Replica{ID: id, State: Starting}
	m.replicas = append(m.replicas, r)
	if ready {
		// its other ports have the time to settle once more
		r.State, r.ReadyAt = Ready, now
		return append([]Action{Publish{}, ArmSettle{ID: id, After: m.policy.Settle}}, m.armIdle(id, m.policy.Idle)...)
	}
	return []Action{Publish{}, ArmStart{ID: id, After: m.policy.StartTimeout}}
}

// SetPolicy changes the policy; timers that run keep their time.
func (m *Machine) SetPolicy(p Policy) { m.policy = p }

// Phase of the site.
func (m *Machine) Phase() Phase {
	switch {
	case m.find(Ready) != nil:
		return Running
	case m.find(Starting) != nil:
		return Waking
	case m.find(Closing) != nil, m.find(Stopping) != nil:
		return Parking
	case m.backoff:
		return Backoff
	}
	return Parked
}

// Settled says that the machine remembers nothing that a new one would not: it
// may be thrown away. A parked site that failed to start does not qualify, as
// its next failure is to be followed by a longer backoff.
func (m *Machine) Settled() bool {
	return m.Phase() == Parked && len(m.replicas) == 0 && m.failures == 0
}

// Replicas returns the replicas, the oldest first.
func (m *Machine) Replicas() []Replica {
	out := make([]Replica, 0, len(m.replicas))
	for _, r := range m.replicas {
		out = append(out, *r)
	}
	return out
}

// View is what the data path is to know.
type View struct {
	Parked   bool // nothing but the listeners
	Refuse   bool
	Forced   bool        // take all ports as ready
	Replicas []ReplicaID // that may get new flows, once they listen
}

// View returns it.
func (m *Machine) View() View {
	v := View{Refuse: m.backoff, Forced: m.forced}
	// Forced holds for the whole site: who does not listen yet must stay out.
	onlyReady := m.forced && m.find(Ready) != nil
	for _, r := range m.replicas {
		if r.State == Ready || (r.State == Starting && !onlyReady) {
			v.Replicas = append(v.Replicas, r.ID)
		}
	}
	v.Parked = !v.Refuse && len(v.Replicas) == 0
	return v
}

func (m *Machine) find(s State) *Replica {
	for _, r := range m.replicas {
		if r.State == s {
			return r
		}
	}
	return nil
}

// alive says whether a replica is there that is not on its way out.
func (m *Machine) alive() bool {
	return m.find(Starting) != nil || m.find(Ready) != nil || m.find(Closing) != nil
}

// restartsAlone says whether scale.min asks for a start that nobody else will.
func (m *Machine) restartsAlone() bool {
	return m.policy.Min > 0 && !m.byHand && !m.deleted && !m.backoff && !m.alive()
}

func (m *Machine) byID(id ReplicaID) *Replica {
	for _, r := range m.replicas {
		if r.ID == id {
			return r
		}
	}
	return nil
}

func (m *Machine) drop(id ReplicaID) {
	for i, r := range m.replicas {
		if r.ID == id {
			m.replicas = append(m.replicas[:i], m.replicas[i+1:]...)
			return
		}
	}
}

// Handle takes one event and returns what is to be done, in this order.
// Events about replicas that are gone are stale and do nothing.
func (m *Machine) Handle(now time.Time, ev Event) []Action {
	acts := m.transition(now, ev)
	if m.waiting && !m.coming() {
		m.waiting = false
		acts = append(acts, Refuse{}) // nobody will listen to those who are held
	}
	return publishOnce(acts)
}

// publishOnce keeps the first Publish only: it writes the View there is after
// the whole event.
func publishOnce(acts []Action) []Action {
	published := false
	return slices.DeleteFunc(acts, func(a Action) bool {
		_, is := a.(Publish)
		again := is && published
		published = published || is
		return again
	})
}

// coming says whether somebody may yet listen to those who are held.
func (m *Machine) coming() bool {
	if m.alive() {
		return true
	}
	for _, r := range m.replicas {
		if r.again && !m.deleted {
			return true
		}
	}
	return false
}

func (m *Machine) transition(now time.Time, ev Event) []Action {
	switch e := ev.(type) {
	case PacketHeld:
		return m.onPacket()
	case WakeAsked:
		return m.onWake(e.Reason)
	case ParkAsked:
		return m.onPark(e)
	case ReplicaReady:
		return m.onReady(now, e)
	case SettleOver:
		return m.onSettleOver(e)
	case StartFailed:
		return m.onGone(now, e.ID, e.Reason, true)
	case StartTimedOut:
		return m.onStartTimeout(e)
	case ReplicaExited:
		return m.onGone(now, e.ID, e.Reason, false)
	case IdleOver:
		return m.onIdle(e)
	case Rechecked:
		return m.onRechecked(e)
	case BackoffOver:
		return m.onBackoffOver()
	case SpecChanged:
		return m.onSpecChanged()
	case Deleted:
		return m.onDeleted()
	}
	panic(fmt.Sprintf("site: event of unknown type %T", ev))
}

func (m *Machine) start(reason string) []Action {
	id := m.newID()
	m.replicas = append(m.replicas, &Replica{ID: id, State: Starting})
	m.forced, m.byHand = false, false
	return []Action{
		Publish{}, Start{ID: id}, ArmStart{ID: id, After: m.policy.StartTimeout},
		Note{Kind: "waking", Replica: id, Reason: reason},
	}
}

func (m *Machine) stop(r *Replica, reason string) []Action {
	r.State, r.Reason = Stopping, reason
	return []Action{Publish{}, Stop{ID: r.ID}}
}

// release lets those go on who are held for a port that r listens on.
func (m *Machine) release(r *Replica) []Action {
	if r.all || m.forced {
		m.waiting = false
	}
	return []Action{Release{}}
}

func (m *Machine) armIdle(id ReplicaID, after time.Duration) []Action {
	if m.policy.Idle <= 0 || m.policy.Min > 0 {
		return nil
	}
	return []Action{ArmIdle{ID: id, After: after}}
}
