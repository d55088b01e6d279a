package site

import "fmt"

// Circulation: one after the other, a replica that is to go is kept serving
// until the next one listens; then it drains and ends. A next one that does not
// come up changes nothing but the time of the next try.

func (m *Machine) armLife(r *Replica) []Action {
	var acts []Action
	r.living = true
	if m.policy.Lifetime > 0 {
		acts = append(acts, ArmLife{ID: r.ID, After: m.policy.Lifetime})
	}
	if m.policy.Ahead {
		acts = append(acts, ArmSpare{After: m.policy.Stable})
	}
	return acts
}

func (m *Machine) onLifeOver(e LifeOver) []Action {
	r := m.byID(e.ID)
	if r == nil || !r.alive() || r.spare {
		return nil
	}
	reason := "its lifetime is over"
	if m.renewing != "" {
		reason = m.renewing // a further try
	}
	if r.State == Asleep { // nobody needs the next one yet
		return m.stop(r, reason)
	}
	r.old = true
	m.renewing, m.holdoff = reason, false
	return m.renew()
}

// circulate replaces all replicas.
func (m *Machine) circulate(reason string) []Action {
	if m.deleted {
		return nil
	}
	acts := m.stopSpares(reason)
	if m.prepared != 0 {
		acts = append(acts, m.unprepare(TierRunning)...)
		acts = append(acts, m.prepare()...)
	}
	m.renewals, m.holdoff = 0, false
	for _, r := range m.replicas {
		if r.spare || !r.alive() {
			continue
		}
		switch r.State {
		case Asleep, Sinking: // no visitor, so no next one
			acts = append(acts, m.stop(r, reason)...)
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
	old := m.oldest(func(r *Replica) bool { return r.old && r.State == Ready })
	if m.anyOld() == nil {
		m.renewing, m.renewals, m.holdoff = "", 0, false
	}
	if old == nil || m.holdoff {
		return nil
	}
	if m.oldest(func(r *Replica) bool { return r.next && r.alive() }) != nil {
		return nil // under way
	}
	if !m.policy.Overlap {
		old.again, old.old = true, false
		return m.stop(old, m.renewing)
	}
	if s := m.sleepingSpare(); s != nil {
		s.spare, s.next = false, true
		return m.ascend(s, m.renewing)
	}
	acts := m.start(m.renewing)
	m.replicas[len(m.replicas)-1].next = true
	return append(acts, Note{Kind: "circulating", Replica: old.ID, Reason: m.renewing})
}

// replaced is called when r has a listener on each port: if it came to replace
// another, that one has done its work.
func (m *Machine) replaced(r *Replica) []Action {
	if !r.next || r.State != Ready {
		return nil
	}
	r.next = false
	m.renewals = 0
	var acts []Action
	if old := m.anyOld(); old != nil && old != r {
		reason := fmt.Sprintf("replaced by %d: %s", r.ID, m.renewing)
		switch old.State {
		case Asleep, Sinking:
			acts = m.stop(old, reason)
		default:
			acts = m.drain(old, reason)
		}
	}
	return append(acts, m.renew()...)
}

// renewalFailed: the next one did not come up; the old ones stay.
func (m *Machine) renewalFailed(r *Replica, reason string) []Action {
	m.renewals++
	wait := max(m.backoffTime(m.renewals), m.policy.Stable)
	acts := []Action{Note{
		Kind: "not-circulated", Replica: r.ID, Failure: true, Reason: reason,
		Detail: fmt.Sprintf("the old replica stays (%s); next try in %s", m.renewing, wait),
	}}
	if old := m.anyOld(); old != nil {
		m.holdoff = true
		acts = append(acts, ArmLife{ID: old.ID, After: wait})
	}
	return acts
}

// anyOld finds a replica that is to be replaced.
func (m *Machine) anyOld() *Replica {
	return m.oldest(func(r *Replica) bool { return r.old && r.alive() && r.State != Starting })
}

// onSpecChanged replaces what runs by replicas made after the new spec.
func (m *Machine) onSpecChanged(e SpecChanged) []Action {
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
			if r.State == Starting && !r.spare {
				r.again = !r.next
				r.next = false
				acts = append(acts, m.stop(r, reason)...)
			}
		}
		acts = append(acts, m.circulate(reason)...)
	}
	if !m.deleted && (m.waiting && !m.alive() || len(m.replicas) == 0 && m.restartsAlone()) {
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
	had := m.prepared != 0
	acts := m.unprepare(TierRunning)
	for _, r := range m.replicas {
		if r.State != Stopping {
			r.again = !r.spare && r.State != Asleep && r.State != Sinking
			acts = append(acts, m.stop(r, reason)...)
		}
	}
	if had {
		acts = append(acts, m.prepare()...)
	}
	return acts
}

// drain gives a replica no new flows. Those whose handshake is under way have a
// moment to become connections; then it is watched until the last has ended.
func (m *Machine) drain(r *Replica, reason string) []Action {
	r.State, r.Reason, r.old, r.next, r.lingered = Draining, reason, false, false, false
	return []Action{
		Publish{}, Note{Kind: "draining", Replica: r.ID, Reason: reason},
		ArmDrain{ID: r.ID, After: m.policy.Linger},
	}
}

func (m *Machine) onDrainOver(e DrainOver) []Action {
	r := m.byID(e.ID)
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
	return append(m.stop(r, r.Reason), Note{Kind: "drained", Replica: r.ID, Reason: reason})
}

func (m *Machine) onEmptied(e Emptied) []Action {
	r := m.byID(e.ID)
	if r == nil || r.State != Draining || !r.lingered {
		return nil
	}
	return m.drained(r, "its last connection has ended")
}

// onSpareDue starts the replica that is kept for the next circulation.
func (m *Machine) onSpareDue() []Action {
	if !m.policy.Ahead || !m.policy.Overlap || m.deleted || m.find(Ready) == nil || m.anySpare() {
		return nil
	}
	prepared, standing := m.prepared, m.standing
	m.prepared, m.standing = 0, false
	acts := m.start("the next one, ahead of its time")
	m.prepared, m.standing = prepared, standing
	m.replicas[len(m.replicas)-1].spare = true
	return acts
}

func (m *Machine) freezeSpare(r *Replica) []Action {
	r.State, r.target = Sinking, TierFrozen
	return []Action{Descend{ID: r.ID, Tier: TierFrozen}}
}

func (m *Machine) anySpare() bool {
	return m.oldest(func(r *Replica) bool { return r.spare && r.alive() }) != nil
}

func (m *Machine) sleepingSpare() *Replica {
	return m.oldest(func(r *Replica) bool { return r.spare && r.State == Asleep })
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

func (m *Machine) oldest(is func(*Replica) bool) *Replica {
	for _, r := range m.replicas {
		if is(r) {
			return r
		}
	}
	return nil
}
