package site

import (
	"fmt"
	"time"
)

func (m *Machine) onPacket() []Action {
	if m.deleted || m.backoff {
		return []Action{Refuse{}}
	}
	m.waiting = true
	if r := m.find(Ready); r != nil {
		return m.release(r) // it was held just before the site got ready
	}
	if m.find(Starting) != nil {
		return nil
	}
	if r := m.find(Closing); r != nil {
		return m.reopen(r, "a packet came while parking")
	}
	return m.start("first packet")
}

func (m *Machine) onWake(reason string) []Action {
	if m.deleted || m.find(Ready) != nil || m.find(Starting) != nil {
		return nil
	}
	m.backoff = false // a person may try at once
	if r := m.find(Closing); r != nil {
		return m.reopen(r, reason)
	}
	return m.start(reason)
}

func (m *Machine) reopen(r *Replica, reason string) []Action {
	r.State, r.Reason, r.idle, m.byHand = Ready, "", false, false
	acts := append([]Action{Publish{}}, m.release(r)...)
	acts = append(acts, Note{Kind: "running", Replica: r.ID, Reason: reason})
	if !r.all && !m.forced {
		acts = append(acts, ArmSettle{ID: r.ID, After: m.policy.Settle})
	}
	return append(acts, m.armIdle(r.ID, m.policy.Idle)...)
}

func (m *Machine) onPark(e ParkAsked) []Action {
	if m.waiting && !e.Force {
		return nil // somebody is held, and to be cut off only by force
	}
	m.byHand = true
	var acts []Action
	for _, r := range m.replicas {
		switch {
		case r.State == Stopping:
			r.again = false
		case r.State == Ready && !e.Force:
			acts = append(acts, m.closeReplica(r, e.Reason)...)
		case r.State == Closing && !e.Force:
			r.Reason, r.idle = e.Reason, false // the counters are on their way
		default:
			acts = append(acts, m.stop(r, e.Reason)...)
		}
	}
	return acts
}

// closeReplica is the first half of parking: new flows are held from now on,
// then the counters are read once more, so that no visitor who was quicker
// than the decision is cut off.
func (m *Machine) closeReplica(r *Replica, reason string) []Action {
	r.State, r.Reason = Closing, reason
	return []Action{Publish{}, Recheck{ID: r.ID}}
}

func (m *Machine) onReady(now time.Time, e ReplicaReady) []Action {
	r := m.byID(e.ID)
	if r == nil || r.State == Stopping {
		return nil
	}
	r.all = r.all || e.All
	if r.State == Closing {
		return nil
	}
	if r.State == Ready {
		return m.release(r) // one more port
	}
	r.State, r.ReadyAt = Ready, now
	var acts []Action
	if m.forced {
		acts = append(acts, Publish{}) // View left it out until now
	}
	acts = append(acts, m.release(r)...)
	acts = append(acts, Note{Kind: "running", Replica: r.ID, Reason: "listening"})
	if !r.all {
		acts = append(acts, ArmSettle{ID: r.ID, After: m.policy.Settle})
	}
	return append(acts, m.armIdle(r.ID, m.policy.Idle)...)
}

func (m *Machine) onSettleOver(e SettleOver) []Action {
	r := m.byID(e.ID)
	if r == nil || r.State != Ready || r.all || m.forced {
		return nil
	}
	m.forced = true
	return append([]Action{Publish{}}, m.release(r)...)
}

func (m *Machine) onStartTimeout(e StartTimedOut) []Action {
	r := m.byID(e.ID)
	if r == nil || r.State != Starting {
		return nil
	}
	reason := fmt.Sprintf("nobody listened on its ports within %s", m.policy.StartTimeout)
	acts := m.stop(r, reason)
	return append(acts, m.fail(r.ID, reason)...)
}

// fail counts a failure and refuses visitors for a while: what cannot start
// must not be started by every packet. Not so if another replica is there.
func (m *Machine) fail(id ReplicaID, reason string) []Action {
	if m.alive() {
		return []Action{Note{Kind: "exited", Replica: id, Failure: true, Reason: reason}}
	}
	m.failures++
	wait := m.policy.BackoffMin
	for i := 1; i < m.failures && wait < m.policy.BackoffMax; i++ {
		wait *= 2
	}
	wait = min(wait, m.policy.BackoffMax)
	m.backoff, m.waiting = true, false
	return []Action{
		Publish{}, Refuse{}, ArmBackoff{After: wait},
		Note{Kind: "failed", Replica: id, Failure: true, Reason: reason,
			Detail: fmt.Sprintf("failure %d in a row, next try not before %s", m.failures, wait)},
	}
}

// onGone: a replica is gone, whoever wanted it.
func (m *Machine) onGone(now time.Time, id ReplicaID, reason string, atStart bool) []Action {
	r := m.byID(id)
	if r == nil {
		return nil
	}
	m.drop(id)
	acts := []Action{Publish{}}
	switch {
	case r.State == Stopping || r.State == Closing:
		acts = append(acts, m.onStopped(r)...)
	case r.State == Starting:
		if !atStart {
			reason = "ended before it listened: " + reason
		}
		acts = append(acts, m.fail(id, reason)...)
	case now.Sub(r.ReadyAt) < m.policy.Stable:
		acts = append(acts, m.fail(id, fmt.Sprintf("ended %s after it was ready: %s",
			now.Sub(r.ReadyAt).Round(time.Millisecond), reason))...)
	default:
		m.failures = 0
		acts = append(acts, Note{Kind: "exited", Replica: id, Reason: reason, Failure: true})
		if m.restartsAlone() {
			acts = append(acts, m.start("scale.min")...)
		}
	}
	return append(acts, m.forgetIfDone()...)
}

func (m *Machine) onStopped(r *Replica) []Action {
	if m.restartsAlone() || (r.again && !m.deleted && !m.backoff && !m.alive()) {
		return m.start(r.Reason)
	}
	if len(m.replicas) > 0 || m.backoff {
		return nil
	}
	if !r.ReadyAt.IsZero() {
		m.failures = 0
	}
	return []Action{Note{Kind: "parked", Reason: r.Reason}}
}

func (m *Machine) onIdle(e IdleOver) []Action {
	r := m.byID(e.ID)
	if r == nil || r.State != Ready || m.policy.Idle <= 0 || m.policy.Min > 0 {
		return nil
	}
	if e.Conns > 0 || m.waiting { // a visitor who is held for a port of it is one too
		return m.armIdle(r.ID, m.policy.Idle)
	}
	if e.IdleFor < m.policy.Idle {
		return m.armIdle(r.ID, m.policy.Idle-e.IdleFor)
	}
	r.idle = true
	return m.closeReplica(r, "idle "+m.policy.Idle.String())
}

func (m *Machine) onRechecked(e Rechecked) []Action {
	r := m.byID(e.ID)
	if r == nil || r.State != Closing {
		return nil
	}
	// Whoever came between the decision and the holding back is seen here.
	if e.Conns > 0 || (r.idle && e.IdleFor < m.policy.Idle) {
		return m.reopen(r, "a connection came while parking")
	}
	return m.stop(r, r.Reason)
}

func (m *Machine) onBackoffOver() []Action {
	if !m.backoff {
		return nil
	}
	m.backoff = false
	if m.restartsAlone() {
		return m.start("scale.min, backoff over")
	}
	return []Action{Publish{}}
}

// onSpecChanged replaces what runs: new flows are held until the next replica,
// made after the new spec, listens. It is started when the old one has gone, as
// they may not like to share a volume, or when a visitor comes; so at once if
// visitors may be waiting already.
func (m *Machine) onSpecChanged() []Action {
	m.failures = 0
	var acts []Action
	if m.backoff {
		m.backoff = false
		acts = append(acts, Publish{})
	}
	for _, r := range m.replicas {
		if r.State != Stopping {
			r.again = true
			acts = append(acts, m.stop(r, "spec changed")...)
		}
	}
	if !m.deleted && (m.waiting || len(m.replicas) == 0 && m.restartsAlone()) {
		acts = append(acts, m.start("spec changed")...)
	}
	return acts
}

func (m *Machine) onDeleted() []Action {
	m.deleted, m.waiting = true, false
	acts := []Action{Refuse{}}
	for _, r := range m.replicas {
		if r.State != Stopping {
			acts = append(acts, m.stop(r, "deleted")...)
		}
	}
	return append(acts, m.forgetIfDone()...)
}

func (m *Machine) forgetIfDone() []Action {
	if m.deleted && !m.forgot && len(m.replicas) == 0 {
		m.forgot = true
		return []Action{Forget{}}
	}
	return nil
}
