package site

import (
	"slices"
	"time"

	"github.com/fcnode/fcnode/detect"
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

// Policy is what the machine needs to know of a site's spec and of the node's
// configuration. Durations are positive unless something else is said.
type Policy struct {
	Min          int           // replicas kept even without visitors
	Max          int           // the most that may serve at once; less than 1 means 1
	Ladder       []Rung        // the tiers to sleep on, ever deeper; empty: never
	StartTimeout time.Duration // to the first listen()
	PortGrace    time.Duration // from the first listening port to giving up on the others
	Stable       time.Duration // a replica that lived so long as ready is no crash loop
	BackoffMin   time.Duration // after the first failure; doubles with each
	BackoffMax   time.Duration
	Unused       time.Duration // one that a packet has woken, and that nobody uses for so long from then on, sleeps again; 0: as all others
	Surplus      time.Duration // one of several that serve is not needed if it is idle for so long; less than the first rung: as that
	Lifetime     time.Duration // after it a replica is replaced; 0: never
	Linger       time.Duration // handshakes under way have this time when a replica gets no new flows any more
	Drain        time.Duration // its connections have this time after that
	Overlap      bool          // old and new replicas may stand side by side
	Ahead        bool          // the next replica of a circulation is kept ready, frozen
	Spares       int           // replicas that are kept ready for scaling out
	SpareTier    detect.Tier   // and how: frozen, or prepared
	KeepConns    time.Duration // one that sleeps may hold connections of its own for so long; 0: always
	BusyMost     time.Duration // work of its own keeps a replica awake for so long; 0: it does not
}

// Machine is the state of one site. It is not safe for concurrent use: the
// node serialises the events of a site.
type Machine struct {
	policy   Policy
	newID    func() ReplicaID
	now      time.Time // of the event that is being handled
	replicas set
	want     int   // replicas that are to serve while the site is awake
	gates    gates // of prepared containers
	failures int   // in a row
	backoff  bool  // refusing until BackoffOver; never while a replica is alive
	retry    bool  // no further replicas until BackoffOver, but serving
	deleted  bool
	done     bool   // Gone was said
	waiting  bool   // packets may be held that were neither released nor refused
	byHand   bool   // somebody parked it: scale.min does not wake it again
	renewing string // why replicas are being replaced; empty: they are not
	renewals int    // failed in a row
	holdoff  bool   // the next try waits for a LifeOver

	spareDue      bool // a SpareDue is to come
	spareFailures int  // spares that came to nothing since one was of use
	noRoom        bool // a prepared one had to make room: no other before a replica comes up
}

// New makes the machine of a parked site. newID allocates replica ids.
func New(p Policy, newID func() ReplicaID) *Machine {
	m := &Machine{policy: p, newID: newID}
	m.want = m.policy.least()
	return m
}

// SetPolicy changes the policy; timers that run keep their time.
func (m *Machine) SetPolicy(p Policy) {
	m.policy = p
	m.want = min(max(m.want, m.policy.least()), m.policy.most())
}

// Phase of the site.
func (m *Machine) Phase() Phase {
	switch {
	case m.replicas.find(Ready) != nil:
		return Running
	case m.replicas.find(Starting) != nil, m.replicas.find(Resuming) != nil:
		return Waking
	case m.replicas.find(Draining) != nil:
		return Running
	case m.replicas.find(Closing) != nil, m.replicas.find(Suspending) != nil:
		return Parking
	case m.replicas.find(Asleep) != nil:
		return Parked
	case m.replicas.find(Stopping) != nil:
		return Parking
	case m.backoff:
		return Backoff
	}
	return Parked
}

// Idle says that the machine remembers nothing that a new one would not: it
// may be thrown away. A parked site that failed to start does not qualify, as
// its next failure is to be followed by a longer backoff.
func (m *Machine) Idle() bool {
	return m.Phase() == Parked && len(m.replicas) == 0 && m.failures == 0 && len(m.gates) == 0
}

// Replicas returns the replicas, the oldest first.
func (m *Machine) Replicas() []Replica {
	out := make([]Replica, 0, len(m.replicas))
	for _, r := range m.replicas {
		out = append(out, *r)
	}
	return out
}

// Replica returns one of them.
func (m *Machine) Replica(id ReplicaID) (Replica, bool) {
	r := m.replicas.byID(id)
	if r == nil {
		return Replica{}, false
	}
	return *r, true
}

// Prepared returns the replicas that wait at their gates.
func (m *Machine) Prepared() []ReplicaID {
	var out []ReplicaID
	for _, g := range m.gates {
		if g.standing {
			out = append(out, g.id)
		}
	}
	return out
}

// ByHand says that somebody wants the site to sleep.
func (m *Machine) ByHand() bool { return m.byHand }

// Serving is how many replicas get new flows, or will.
func (m *Machine) Serving() int { return len(m.replicas.serving()) }

// View is what the data path is to know.
type View struct {
	Parked   bool // nothing but the listeners
	Refuse   bool
	Replicas []ViewReplica
}

// ViewReplica is one that may get packets, once it listens.
type ViewReplica struct {
	ID       ReplicaID
	Draining bool // those of its connections only
	Forced   bool // take all its ports as ready
	Asleep   bool // and tell of the first packet
}

// View returns it.
func (m *Machine) View() View {
	v := View{Refuse: m.backoff}
	for _, r := range m.replicas {
		if r.role == roleSpare {
			continue
		}
		in := ViewReplica{ID: r.ID, Forced: r.ports == portsGivenUp}
		switch r.State {
		case Starting, Ready, Resuming:
		case Draining:
			in.Draining = true
		case Closing, Suspending, Asleep:
			if !stays(r.target) {
				continue
			}
			in.Asleep = true
		default:
			continue
		}
		v.Replicas = append(v.Replicas, in)
	}
	v.Parked = !v.Refuse && len(v.Replicas) == 0
	return v
}

// restartsAlone says whether scale.min asks for a start that nobody else will.
func (m *Machine) restartsAlone() bool {
	return m.policy.Min > 0 && !m.byHand && !m.deleted && !m.backoff && !m.replicas.alive()
}

// Handle takes one event and returns what is to be done, in this order.
// Events about replicas that are gone are stale and do nothing.
func (m *Machine) Handle(now time.Time, ev Event) []Action {
	m.now = now
	acts := ev.on(m, now)
	if m.waiting && !m.coming() {
		m.waiting = false
		acts = append(acts, Refuse{}) // nobody will listen to those who are held
	}
	if !m.replicas.alive() && m.want > m.policy.least() {
		m.want = m.policy.least() // the crowd is gone, and with it the need
	}
	acts = append(acts, m.keepSpares()...)
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
	return m.replicas.alive() || slices.ContainsFunc(m.replicas, func(r *Replica) bool { return r.then == thenStart && !m.deleted })
}
