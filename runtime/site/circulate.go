package site

import (
	"cmp"
	"fmt"
	"time"

	"github.com/fcnode/fcnode/runtime/event"
)

// Circulation: one after the other, a replica that is to go is kept serving
// until the next one listens; then it drains and ends. A next one that does not
// come up changes nothing but the time of the next try.

func (r *Replica) armLife(p Policy) []Action {
	var acts []Action
	r.living = true
	if p.Lifetime > 0 {
		acts = append(acts, ArmLife{ID: r.ID, After: p.Lifetime})
	}
	return acts
}

func (e LifeOver) on(m *Machine, _ time.Time) []Action {
	r := m.replicas.byID(e.ID)
	if r == nil {
		return nil
	}
	reason := "its lifetime is over"
	switch {
	case r.State == Draining:
		r.cause = causeAsked // it is too old for a spare one
		return nil
	case !r.alive():
		return nil
	case r.role == roleSpare: // it has served before
		return r.stop(reason)
	}
	if m.renewing != "" {
		reason = m.renewing // a further try
	}
	if r.State == Asleep { // nobody needs the next one yet
		return r.stop(reason)
	}
	r.old = true
	m.renewing, m.holdoff = reason, false
	return m.renew()
}

// A replica that serves badly is replaced, and serves until the next one does.
func (e Unhealthy) on(m *Machine, _ time.Time) []Action {
	r := m.replicas.byID(e.ID)
	if r == nil || r.State != Ready || r.Spare() || r.old || m.deleted {
		return nil
	}
	r.old = true
	m.renewing = cmp.Or(m.renewing, e.Reason)
	return append([]Action{Note{Kind: event.Unhealthy, Replica: r.ID, Failure: true, Reason: e.Reason}}, m.renew()...)
}

// circulate replaces all replicas.
func (m *Machine) circulate(reason string) []Action {
	if m.deleted {
		return nil
	}
	acts := append(m.stopSpares(reason), m.renewGates()...)
	m.renewals, m.holdoff, m.spareFailures = 0, false, 0
	for _, r := range m.replicas {
		if r.role == roleSpare || !r.alive() {
			continue
		}
		switch r.State {
		case Asleep, Suspending: // no visitor, so no next one
			acts = append(acts, r.stop(reason)...)
		case Starting: // fresh enough
		default:
			r.old = true
		}
	}
	m.renewing = reason
	return append(acts, m.renew()...)
}

// renew takes the next step of a circulation.
func (m *Machine) renew() []Action {
	old := m.replicas.oldest(func(r *Replica) bool { return r.old && r.State == Ready })
	if m.replicas.anyOld() == nil {
		m.renewing, m.renewals, m.holdoff = "", 0, false
	}
	if old == nil || m.holdoff {
		return nil
	}
	if m.replicas.oldest(func(r *Replica) bool { return r.role == roleNext && r.alive() }) != nil {
		return nil // under way
	}
	if !m.policy.Overlap {
		old.then, old.old = thenStart, false
		return old.stop(m.renewing)
	}
	if s := m.replicas.spare(true); s != nil {
		s.role = roleNext
		return m.join(s, m.renewing)
	}
	acts := m.start(m.renewing)
	m.replicas[len(m.replicas)-1].role = roleNext
	return append(acts, Note{Kind: event.Circulating, Replica: old.ID, Reason: m.renewing})
}

// replaced is called when r has a listener on each port: if it came to replace
// another, that one has done its work.
func (m *Machine) replaced(r *Replica) []Action {
	if r.role != roleNext || r.State != Ready {
		return nil
	}
	r.role = roleServing
	m.renewals = 0
	var acts []Action
	if old := m.replicas.anyOld(); old != nil && old != r {
		reason := "replaced by a fresh one: " + m.renewing
		switch old.State {
		case Asleep, Suspending:
			acts = old.stop(reason)
		default:
			acts = m.drain(old, causeAsked, reason)
		}
	}
	return append(acts, m.renew()...)
}

// renewalFailed: the next one did not come up; the old ones stay.
func (m *Machine) renewalFailed(r *Replica, reason string) []Action {
	m.renewals++
	wait := max(m.policy.backoffTime(m.renewals), m.policy.Stable)
	acts := []Action{Note{
		Kind: event.NotCirculated, Replica: r.ID, Failure: true, Reason: reason,
		Detail: fmt.Sprintf("the old replica stays (%s); next try in %s", m.renewing, wait),
	}}
	if old := m.replicas.anyOld(); old != nil {
		m.holdoff = true
		acts = append(acts, ArmLife{ID: old.ID, After: wait})
	}
	return acts
}

// on replaces what runs by replicas made after the new spec.
func (e SpecChanged) on(m *Machine, _ time.Time) []Action {
	m.failures = 0
	var acts []Action
	if m.backoff {
		m.backoff = false
		acts = append(acts, Publish{})
	}
	m.retry = false
	const reason = "spec changed"
	if e.Apart || !m.policy.Overlap {
		acts = append(acts, m.replaceApart(reason)...)
	} else {
		for _, r := range m.replicas { // of the old spec, and serving nobody yet
			if r.State == Starting && r.role != roleSpare {
				r.then = thenStart
				if r.role == roleNext {
					r.role, r.then = roleServing, thenNothing
				}
				acts = append(acts, r.stop(reason)...)
			}
		}
		acts = append(acts, m.circulate(reason)...)
	}
	if !m.deleted && (m.waiting && !m.replicas.alive() || !m.replicas.anyButSpares() && m.restartsAlone()) {
		acts = append(acts, m.start(reason)...)
	}
	return acts
}

// replaceApart ends what runs: new flows are held until the next replica
// listens. It is started when the old one has gone, as they may not like to
// share a volume, or when a visitor comes; so at once if visitors may be waiting
// already.
func (m *Machine) replaceApart(reason string) []Action {
	m.renewing = ""
	acts := m.renewGates()
	for _, r := range m.replicas {
		if r.State != Stopping {
			if r.role != roleSpare && r.State != Asleep && r.State != Suspending {
				r.then = thenStart
			}
			acts = append(acts, r.stop(reason)...)
		}
	}
	return acts
}

// renewGates throws away what waits at the gates; where that was for a visitor
// another one is made.
func (m *Machine) renewGates() []Action {
	had := len(m.gates) > 0
	acts := m.gates.drop(0)
	if had && !m.replicas.anyButSpares() {
		acts = append(acts, m.prepare()...)
	}
	return acts
}

// drain gives a replica no new flows. Those whose handshake is under way have a
// moment to become connections; then it is watched until the last has ended.
func (m *Machine) drain(r *Replica, why cause, reason string) []Action {
	r.State, r.Reason, r.cause, r.old, r.lingered = Draining, reason, why, false, false
	r.role = roleServing
	acts := []Action{
		Publish{}, Note{Kind: event.Draining, Replica: r.ID, Reason: reason},
		ArmDrain{ID: r.ID, After: m.policy.Linger},
	}
	if old := m.replicas.anyOld(); old != nil && m.holdoff { // the timer of a further try may have been r's
		acts = append(acts, ArmLife{ID: old.ID, After: m.policy.Stable})
	}
	return acts
}

func (e DrainOver) on(m *Machine, _ time.Time) []Action {
	r := m.replicas.byID(e.ID)
	if r == nil || r.State != Draining {
		return nil
	}
	if !r.lingered {
		r.lingered = true
		return []Action{ArmDrain{ID: r.ID, After: m.policy.Drain}, Watch{ID: r.ID}}
	}
	return m.drained(r, fmt.Sprintf("its time is over, %s", m.policy.Drain))
}

func (m *Machine) drained(r *Replica, reason string) []Action {
	return append(r.stop(r.Reason), Note{Kind: event.Drained, Replica: r.ID, Reason: reason})
}

func (e Emptied) on(m *Machine, _ time.Time) []Action {
	r := m.replicas.byID(e.ID)
	if r == nil || r.State != Draining || !r.lingered {
		return nil
	}
	if m.keepsAsSpare(r) {
		return r.becomeSpare()
	}
	return m.drained(r, "its last connection has ended")
}

func (e CirculateAsked) on(m *Machine, _ time.Time) []Action { return m.circulate(e.Reason) }
