package site

import (
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/event"
)

// Spares stand ready before they are needed: frozen ones have been started and
// have listened, prepared ones are containers at their gates. They are taken by
// scaling out, frozen ones by a circulation too, and when those that serve have
// crashed. While they are spares they get no packets.
//
// With those that serve they are never more than may serve, but for the one of a
// circulation: who cannot be scaled out any more needs none. They are made one
// after the other, a while after the last replica has come up, so that they do
// not take the processor from those that a surge has called for.

// keepSpares is called after each event: what is not needed any more goes, and for
// what is missing a time is set.
func (m *Machine) keepSpares() []Action {
	acts := m.dropSurplus()
	if m.replicas.find(Ready) == nil || m.spareDue || !m.spareMissing() {
		return acts
	}
	m.spareDue = true
	return append(acts, ArmSpare{After: m.policy.sparePause(m.spareFailures)})
}

func (m *Machine) spareMissing() bool {
	return m.replicas.spares() < m.policy.wantFrozen(m.Serving()) || len(m.gates) < m.policy.wantGates(m.Serving()) && !m.noRoom
}

// dropSurplus ends spares that nobody needs: the last one made first, as it may
// not even stand yet.
func (m *Machine) dropSurplus() []Action {
	want := 0
	if m.replicas.up() {
		want = m.policy.wantFrozen(m.Serving())
	}
	var acts []Action
	for n := m.replicas.spares(); n > want; n-- {
		var last *Replica
		for _, r := range m.replicas {
			if r.role == roleSpare && r.alive() {
				last = r
			}
		}
		acts = append(acts, last.stop("no spare one is needed")...)
	}
	return append(acts, m.gates.drop(m.gatesAllowed())...)
}

// gatesAllowed is how many may stand at their gates. Of a site without replicas it
// is the one for its next visitor; one that is being put to sleep there may keep one.
func (m *Machine) gatesAllowed() int {
	if m.replicas.up() {
		return m.policy.wantGates(m.Serving())
	}
	allowed := len(m.gates)
	for _, r := range m.replicas {
		if r.role == roleSpare {
			continue
		}
		allowed = 0
		if r.then == thenPrepare {
			return 1
		}
	}
	return allowed
}

// on makes one.
func (SpareDue) on(m *Machine, _ time.Time) []Action {
	m.spareDue = false
	making := m.replicas.oldest(func(r *Replica) bool {
		return r.role == roleSpare && r.alive() && r.State != Asleep || r.State == Draining && r.cause == causeSurplus
	})
	if m.deleted || m.retry || m.replicas.find(Ready) == nil || making != nil {
		return nil // keepSpares sets another time, if it is to be
	}
	switch {
	case m.replicas.spares() < m.policy.wantFrozen(m.Serving()):
		acts := m.launch(m.newID(), detect.TierRunning, "a spare one, ahead of its time")
		m.replicas[len(m.replicas)-1].role = roleSpare
		return acts
	case len(m.gates) < m.policy.wantGates(m.Serving()):
		return m.addGate()
	}
	return nil
}

// freeze is called when a spare listens on one port more, and when it has had
// its time for that.
func (r *Replica) freeze(p Policy) []Action {
	if r.ports == portsWaited {
		return r.armPortGrace(p)
	}
	r.State, r.target = Suspending, detect.TierFrozen
	return []Action{Descend{ID: r.ID, Tier: detect.TierFrozen}}
}

// keepsAsSpare says whether a replica that was drained because fewer are needed may
// be kept for when more are. One that is to be replaced, or has reached its age, may not.
func (m *Machine) keepsAsSpare(r *Replica) bool {
	return r.cause == causeSurplus && m.policy.SpareTier == detect.TierFrozen && m.replicas.up() && m.replicas.spares() < m.policy.room(m.Serving())
}

func (r *Replica) becomeSpare() []Action {
	r.role, r.Reason = roleSpare, ""
	r.State, r.target = Suspending, detect.TierFrozen
	return []Action{
		Publish{}, Descend{ID: r.ID, Tier: detect.TierFrozen},
		Note{Kind: event.Drained, Replica: r.ID, Reason: "its last connection has ended; it is kept as the spare one"},
	}
}

// join makes a spare one that serves.
func (m *Machine) join(r *Replica, reason string) []Action {
	if r.role == roleSpare {
		r.role = roleServing
	}
	r.origin = originLent
	switch r.State {
	case Starting: // it serves as soon as it listens
		return []Action{Publish{}, Note{Kind: event.Waking, Replica: r.ID, Reason: reason}}
	case Ready:
		return append(m.reopen(r, reason), r.armLife(m.policy)...)
	default:
		r.origin = originJoining
		return m.ascend(r, reason)
	}
}

// joined is called when a replica has come up: what is missing now is made when
// no other has come up for a while.
func (m *Machine) joined() {
	m.spareDue, m.noRoom, m.spareFailures = false, false, 0
}

// spareFailed tells of one that stands there no more, or never did.
func (m *Machine) spareFailed(r *Replica, reason string) []Action {
	m.spareFailures++
	return []Action{Note{Kind: event.Exited, Replica: r.ID, Failure: true, Reason: "the spare replica: " + reason}}
}

func (m *Machine) stopSpares(reason string) []Action {
	var acts []Action
	for _, r := range m.replicas {
		if r.role == roleSpare && r.alive() {
			acts = append(acts, r.stop(reason)...)
		}
	}
	return acts
}
