package site

import (
	"fmt"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/event"
)

func (PacketHeld) on(m *Machine, now time.Time) []Action {
	if m.deleted || m.backoff {
		return []Action{Refuse{}}
	}
	m.waiting = true
	if r := m.replicas.find(Ready); r != nil {
		return m.release(r) // it was held just before the site got ready
	}
	if m.replicas.find(Starting) != nil || m.replicas.find(Resuming) != nil {
		return nil
	}
	if r := m.replicas.sleeper(); r != nil {
		r.visit.due, r.visit.since = true, now
		return m.rouse(r, "a packet came while parking")
	}
	if r := m.replicas.find(Draining); r != nil {
		return m.reopen(r, "a packet came")
	}
	acts := m.start("first packet")
	m.replicas[len(m.replicas)-1].visit.due = true
	return acts
}

func (e WakeAsked) on(m *Machine, _ time.Time) []Action {
	if m.deleted || m.replicas.find(Ready) != nil || m.replicas.find(Starting) != nil || m.replicas.find(Resuming) != nil {
		return nil
	}
	m.backoff = false // a person may try at once
	m.byHand = false
	if r := m.replicas.sleeper(); r != nil {
		return m.rouse(r, e.Reason)
	}
	return m.start(e.Reason)
}

// start makes a replica, from what stands at the gate if there is such a one.
func (m *Machine) start(reason string) []Action {
	if id := m.gates.take(); id != 0 {
		return m.launch(id, detect.TierPrepared, reason)
	}
	return m.launch(m.newID(), detect.TierRunning, reason)
}

func (m *Machine) launch(id ReplicaID, from detect.Tier, reason string) []Action {
	m.replicas = append(m.replicas, newReplica(id))
	m.byHand = false
	return []Action{
		Publish{}, Start{ID: id, From: from}, ArmStart{ID: id, After: m.policy.StartTimeout},
		Note{Kind: event.Waking, Replica: id, Reason: reason},
	}
}

func (e ReplicaReady) on(m *Machine, now time.Time) []Action {
	r := m.replicas.byID(e.ID)
	if r == nil || r.State == Stopping {
		return nil
	}
	if e.All && r.ports == portsWaited {
		r.ports = portsAll
	}
	switch {
	case r.State == Ready && r.role == roleSpare:
		return r.freeze(m.policy)
	case r.State == Ready:
		return m.release(r) // one more port
	case r.State != Starting:
		return nil
	}
	r.State, r.ReadyAt, r.visit.since, r.visit.by = Ready, now, now, now.Add(m.policy.Unused)
	if r.role == roleSpare {
		return r.freeze(m.policy)
	}
	m.joined()
	acts := m.release(r)
	acts = append(acts, Note{Kind: event.Running, Replica: r.ID, Reason: "listening"})
	acts = append(acts, r.armPortGrace(m.policy)...)
	acts = append(acts, r.armIdle(m.policy)...)
	acts = append(acts, r.armLife(m.policy)...)
	if m.renewing != "" && r.role != roleNext {
		acts = append(acts, m.renew()...)
	}
	return append(acts, m.reconcile("found more or less than are wanted")...)
}

// release lets those go on who are held for a port that r listens on.
func (m *Machine) release(r *Replica) []Action {
	if r.ports != portsWaited {
		m.waiting = false
		return append([]Action{Release{}}, m.replaced(r)...)
	}
	return []Action{Release{}}
}

// armPortGrace bounds the time that visitors of a port nobody listens on wait.
func (r *Replica) armPortGrace(p Policy) []Action {
	if r.ports != portsWaited {
		return nil
	}
	return []Action{ArmPortGrace{ID: r.ID, After: p.PortGrace}}
}

// on: a server that listens anew in a moment, as many do when they
// reload, loses nobody: visitors are held meanwhile. One that does not is given
// up on like one that never listened, and its own kernel refuses them.
func (e PortClosed) on(m *Machine, _ time.Time) []Action {
	r := m.replicas.byID(e.ID)
	if r == nil {
		return nil
	}
	if r.ports == portsAll {
		r.ports = portsWaited
	}
	if r.State != Ready {
		return nil
	}
	return r.armPortGrace(m.policy)
}

func (e PortGraceOver) on(m *Machine, _ time.Time) []Action {
	r := m.replicas.byID(e.ID)
	if r == nil || r.State != Ready || r.ports != portsWaited {
		return nil
	}
	r.ports = portsGivenUp
	if r.role == roleSpare {
		return r.freeze(m.policy)
	}
	return append([]Action{Publish{}}, m.release(r)...)
}

func (e StartTimedOut) on(m *Machine, _ time.Time) []Action {
	r := m.replicas.byID(e.ID)
	if r == nil || (r.State != Starting && r.State != Resuming) {
		return nil
	}
	reason := e.Reason
	if reason == "" {
		reason = fmt.Sprintf("nobody listened on its ports within %s", m.policy.StartTimeout)
	}
	if r.State == Resuming {
		reason = fmt.Sprintf("it did not run again within %s", m.policy.StartTimeout)
	}
	acts := r.stop(reason)
	acts = append(acts, m.failed(r, reason)...)
	return append(acts, m.recover()...)
}

// failed says what comes of a replica that did not come up.
func (m *Machine) failed(r *Replica, reason string) []Action {
	switch {
	case r.role == roleSpare, r.origin == originJoining: // another way is taken at once
		return m.spareFailed(r, reason)
	case r.role == roleNext && m.replicas.anyOld() != nil:
		return m.renewalFailed(r, reason)
	}
	return m.fail(r.ID, reason)
}

// fail counts a failure and refuses visitors for a while: what cannot start
// must not be started by every packet. Not so if another replica is there, or a
// spare one: then only no further one is tried for a while.
func (m *Machine) fail(id ReplicaID, reason string) []Action {
	if m.replicas.alive() || m.replicas.find(Draining) != nil || m.replicas.spare(false) != nil {
		acts := []Action{Note{Kind: event.Exited, Replica: id, Failure: true, Reason: reason}}
		if m.policy.Max <= 1 && m.policy.Min <= 1 && !m.policy.Ahead {
			return acts
		}
		m.failures++
		m.retry = true
		return append(acts, ArmBackoff{After: m.policy.backoffTime(m.failures)})
	}
	m.failures++
	wait := m.policy.backoffTime(m.failures)
	m.backoff, m.waiting = true, false
	return []Action{
		Publish{}, Refuse{}, ArmBackoff{After: wait},
		Note{
			Kind: event.Failed, Replica: id, Failure: true, Reason: reason,
			Detail: fmt.Sprintf("failure %d in a row, next try not before %s", m.failures, wait),
		},
	}
}

func (BackoffOver) on(m *Machine, _ time.Time) []Action {
	m.retry = false
	if !m.backoff {
		return m.reconcile("backoff over")
	}
	m.backoff = false
	if m.restartsAlone() {
		return m.start("scale.min, backoff over")
	}
	return []Action{Publish{}}
}
