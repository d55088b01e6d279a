package site

import (
	"fmt"
	"slices"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/event"
)

func (r *Replica) stop(reason string) []Action {
	r.State, r.Reason = Stopping, reason
	return []Action{Publish{}, Stop{ID: r.ID}}
}

func (e ParkAsked) on(m *Machine, _ time.Time) []Action {
	if (m.waiting || m.replicas.find(Resuming) != nil) && !e.Force {
		return nil // somebody is held, or knocked, and to be cut off only by force
	}
	m.byHand = true
	var acts []Action
	if e.Tier != detect.TierPrepared {
		acts = m.gates.drop(0)
	}
	for _, r := range m.replicas {
		if r.State == Stopping {
			r.then = thenNothing
			continue
		}
		if e.Force || r.role == roleSpare {
			acts = append(acts, r.stop(e.Reason)...)
			continue
		}
		acts = append(acts, m.park(r, e)...)
	}
	return acts
}

// park puts one replica to sleep because somebody asked for it.
func (m *Machine) park(r *Replica, e ParkAsked) []Action {
	tier := e.Tier
	if tier == "" {
		tier = detect.TierCold
		if m.policy.allows(detect.TierCheckpointed) {
			tier = detect.TierCheckpointed
		}
	}
	switch r.State {
	case Ready:
		return r.close(tier, causeAsked, e.Reason)
	case Asleep:
		if tier.Depth() <= r.Tier.Depth() {
			return nil
		}
		return r.close(tier, causeAsked, e.Reason)
	case Suspending:
		if r.target.Depth() >= tier.Depth() {
			return nil
		}
		return r.stop(e.Reason)
	case Closing:
		r.Reason, r.cause = e.Reason, causeAsked // the counters are on their way
		if tier.Depth() > r.target.Depth() {
			r.target = tier
			return []Action{Publish{}}
		}
		return nil
	case Starting, Resuming, Draining, Stopping:
	}
	return r.stop(e.Reason)
}

// gone: a replica is gone, whoever wanted it.
func (m *Machine) gone(now time.Time, id ReplicaID, reason string, atStart bool) []Action {
	r := m.replicas.byID(id)
	if r == nil {
		return nil
	}
	m.replicas = slices.DeleteFunc(m.replicas, func(r *Replica) bool { return r.ID == id })
	acts := []Action{Publish{}}
	switch {
	case r.role == roleSpare && r.State != Stopping:
		acts = append(acts, m.failed(r, reason)...)
	default:
		acts = append(acts, m.ownEnd(now, r, reason, atStart)...)
	}
	if m.replicas.anyOld() == nil { // the next one has nobody to replace: it is one like others
		for _, n := range m.replicas {
			if n.role == roleNext {
				n.role = roleServing
			}
		}
	}
	if m.renewing != "" && (r.old || r.role == roleNext) {
		if r.old { // the timer of a further try was its
			m.holdoff = false
		}
		acts = append(acts, m.renew()...)
	}
	acts = append(acts, m.recover()...)
	return append(acts, m.goneIfDone()...)
}

// ownEnd says what the end of a replica means, by what it was doing.
func (m *Machine) ownEnd(now time.Time, r *Replica, reason string, atStart bool) []Action {
	switch r.State {
	case Stopping, Closing, Suspending, Asleep:
		return m.stopped(r, reason)
	case Draining:
		return []Action{Note{Kind: event.Exited, Replica: r.ID, Reason: "while draining: " + reason}}
	case Starting:
		if r.origin == originFound && !m.replicas.alive() { // no failure for all that is known: the next start shows whether it is one
			r.Reason = "found when it did not listen, and ended: " + reason
			return m.stopped(r, reason)
		}
		if r.unproven {
			return m.endedUnproven(r, reason)
		}
		if !atStart {
			reason = "ended before it listened: " + reason
		}
		return m.failed(r, reason)
	default:
		return m.crashed(now, r, reason)
	}
}

// crashed: it was serving.
func (m *Machine) crashed(now time.Time, r *Replica, reason string) []Action {
	lived := now.Sub(r.ReadyAt)
	if r.unproven && (lived < m.policy.Stable || m.waiting) {
		return m.endedUnproven(r, reason)
	}
	if (r.origin == originLent || r.origin == originJoining) && lived < m.policy.Stable { // so another way is taken at once: one that is started shows whether it can live
		return m.spareFailed(r, reason)
	}
	if lived < m.policy.Stable {
		reason = fmt.Sprintf("ended %s after it was ready: %s", lived.Round(time.Millisecond), reason)
		return m.failed(r, reason)
	}
	m.failures = 0
	if r.role == roleNext && m.replicas.anyOld() != nil {
		return m.renewalFailed(r, reason)
	}
	return []Action{Note{Kind: event.Exited, Replica: r.ID, Reason: reason, Failure: true}}
}

// recover finds somebody to serve when the last who did so is gone: one that is
// still draining, the spare one, or, as scale.min asks for it, a new one.
func (m *Machine) recover() []Action {
	if m.deleted || m.byHand {
		return nil
	}
	if !m.replicas.alive() {
		if r := m.replicas.find(Draining); r != nil {
			return m.reopen(r, "its successor is gone")
		}
		if r := m.replicas.spare(false); r != nil && !m.backoff {
			return m.join(r, "the spare one takes over")
		}
	}
	if m.restartsAlone() {
		return m.start("scale.min")
	}
	return m.reconcile("one is missing")
}

func (m *Machine) stopped(r *Replica, reason string) []Action {
	if r.State == Asleep || r.State == Suspending {
		r.Reason = fmt.Sprintf("ended while it was put to sleep: %s", reason)
		if r.State == Asleep {
			r.Reason = "ended in its sleep: " + reason
		}
	}
	if r.role == roleSpare {
		return nil
	}
	if m.waiting && !m.deleted && !m.backoff && !m.replicas.alive() {
		return m.start("first packet")
	}
	if m.restartsAlone() || (r.then == thenStart && !m.deleted && !m.backoff && !m.replicas.alive()) {
		return m.start(r.Reason)
	}
	if m.backoff || m.replicas.anyButSpares() {
		return nil
	}
	if !r.ReadyAt.IsZero() {
		m.failures = 0
	}
	kind := event.Parked
	if r.Tier == detect.TierCheckpointed {
		kind = event.Checkpointed
	}
	acts := []Action{Note{Kind: kind, Reason: r.Reason}}
	if r.then == thenPrepare && !m.deleted {
		acts = append(acts, m.prepare()...)
	}
	return acts
}

func (Deleted) on(m *Machine, _ time.Time) []Action {
	m.deleted, m.waiting, m.renewing = true, false, ""
	acts := append([]Action{Refuse{}}, m.gates.drop(0)...)
	for _, r := range m.replicas {
		if r.State != Stopping {
			acts = append(acts, r.stop("deleted")...)
		}
	}
	return append(acts, m.goneIfDone()...)
}

func (m *Machine) goneIfDone() []Action {
	if m.deleted && !m.done && len(m.replicas) == 0 {
		m.done = true
		return []Action{Gone{}}
	}
	return nil
}

func (e StartFailed) on(m *Machine, now time.Time) []Action { return m.gone(now, e.ID, e.Reason, true) }

func (e ReplicaExited) on(m *Machine, now time.Time) []Action {
	return m.gone(now, e.ID, e.Reason, false)
}
