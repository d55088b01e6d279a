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
	if m.find(Ready) == nil || m.spareDue || !m.spareMissing() {
		return acts
	}
	m.spareDue = true
	return append(acts, ArmSpare{After: m.sparePause()})
}

// sparePause grows with each spare that came to nothing.
func (m *Machine) sparePause() time.Duration {
	wait := m.policy.Stable
	for i := 0; i < m.spareFailures && wait < m.policy.BackoffMax; i++ {
		wait *= 2
	}
	return max(m.policy.Stable, min(wait, m.policy.BackoffMax))
}

// up says whether the site is awake, or on its way there.
func (m *Machine) up() bool {
	return m.oldest(func(r *Replica) bool { return !r.spare && r.alive() && r.State != Asleep }) != nil
}

// room is how many of the replicas that scaling out may add are to stand ready.
func (m *Machine) room() int { return max(0, min(m.policy.Spares, m.most()-m.Serving())) }

func (m *Machine) wantFrozen() int {
	want := 0
	if m.policy.SpareTier == detect.TierFrozen {
		want = m.room()
	}
	if m.policy.Ahead && m.policy.Overlap {
		want = max(want, 1)
	}
	return want
}

func (m *Machine) wantGates() int {
	if m.policy.SpareTier == detect.TierPrepared {
		return m.room()
	}
	return 0
}

// spares are those that are frozen, or on their way there.
func (m *Machine) spares() (n int) {
	for _, r := range m.replicas {
		if r.spare && r.alive() {
			n++
		}
	}
	return n
}

func (m *Machine) spareMissing() bool {
	return m.spares() < m.wantFrozen() || len(m.gates) < m.wantGates() && !m.noRoom
}

// dropSurplus ends spares that nobody needs: the last one made first, as it may
// not even stand yet.
func (m *Machine) dropSurplus() []Action {
	want := 0
	if m.up() {
		want = m.wantFrozen()
	}
	var acts []Action
	for n := m.spares(); n > want; n-- {
		var last *Replica
		for _, r := range m.replicas {
			if r.spare && r.alive() {
				last = r
			}
		}
		acts = append(acts, m.stop(last, "no spare one is needed")...)
	}
	return append(acts, m.dropGates(m.gatesAllowed())...)
}

// gatesAllowed is how many may stand at their gates. Of a site without replicas it
// is the one for its next visitor; one that is being put to sleep there may keep one.
func (m *Machine) gatesAllowed() int {
	if m.up() {
		return m.wantGates()
	}
	allowed := len(m.gates)
	for _, r := range m.replicas {
		if r.spare {
			continue
		}
		allowed = 0
		if r.prepare {
			return 1
		}
	}
	return allowed
}

// onSpareDue makes one.
func (m *Machine) onSpareDue() []Action {
	m.spareDue = false
	making := m.oldest(func(r *Replica) bool {
		return r.spare && r.alive() && r.State != Asleep || r.State == Draining && r.keep
	})
	if m.deleted || m.retry || m.find(Ready) == nil || making != nil {
		return nil // keepSpares sets another time, if it is to be
	}
	switch {
	case m.spares() < m.wantFrozen():
		acts := m.launch(m.newID(), detect.TierRunning, "a spare one, ahead of its time")
		m.replicas[len(m.replicas)-1].spare = true
		return acts
	case len(m.gates) < m.wantGates():
		return m.addGate()
	}
	return nil
}

// freezeSpare is called when a spare listens on one port more, and when it has had
// its time for that.
func (m *Machine) freezeSpare(r *Replica) []Action {
	if !r.all && !r.forced {
		return m.armSettle(r)
	}
	r.State, r.target = Sinking, detect.TierFrozen
	return []Action{Descend{ID: r.ID, Tier: detect.TierFrozen}}
}

// keepsAsSpare says whether a replica that was drained because fewer are needed may
// be kept for when more are. One that is to be replaced, or has reached its age, may not.
func (m *Machine) keepsAsSpare(r *Replica) bool {
	return r.keep && m.policy.SpareTier == detect.TierFrozen && m.up() && m.spares() < m.room()
}

func (m *Machine) becomeSpare(r *Replica) []Action {
	r.spare, r.keep, r.Reason = true, false, ""
	r.State, r.target = Sinking, detect.TierFrozen
	return []Action{
		Publish{}, Descend{ID: r.ID, Tier: detect.TierFrozen},
		Note{Kind: event.Drained, Replica: r.ID, Reason: "its last connection has ended; it is kept as the spare one"},
	}
}

// spare is the one that serves soonest. Of those that sleep it is one that has
// served before, whose caches are warm; if a fresh one is wanted it is not.
func (m *Machine) spare(fresh bool) *Replica {
	is := func(s State, living bool) *Replica {
		return m.oldest(func(r *Replica) bool { return r.spare && r.State == s && r.living == living })
	}
	for _, s := range []State{Asleep, Sinking, Ready, Starting} {
		if r := is(s, true); r != nil && !fresh {
			return r
		}
		if r := is(s, false); r != nil {
			return r
		}
	}
	return nil
}

// join makes a spare one that serves.
func (m *Machine) join(r *Replica, reason string) []Action {
	r.spare, r.lent = false, true
	switch r.State {
	case Starting: // it serves as soon as it listens
		return []Action{Publish{}, Note{Kind: event.Waking, Replica: r.ID, Reason: reason}}
	case Ready:
		return append(m.reopen(r, reason), m.armLife(r)...)
	default:
		r.joining = true
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
		if r.spare && r.alive() {
			acts = append(acts, m.stop(r, reason)...)
		}
	}
	return acts
}
