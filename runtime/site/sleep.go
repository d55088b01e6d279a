package site

import (
	"cmp"
	"slices"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/event"
)

// armIdle sets the timer of the next rung of the ladder.
func (r *Replica) armIdle(p Policy) []Action {
	rung, ok := r.nextRung(p)
	if !ok || p.Min > 0 || r.role == roleSpare {
		return nil
	}
	here, _ := p.rung(r.Tier) // the time up to where it is has been waited for
	return []Action{ArmIdle{ID: r.ID, After: r.visit.sooner(p, max(0, rung.After-here.After))}}
}

// sooner is when to look at a replica that is to sleep after a time.
func (v *visit) sooner(p Policy, after time.Duration) time.Duration {
	if v.due && p.Unused > 0 {
		return min(p.Unused, after)
	}
	return after
}

// arriving is for how long whoever has just come may yet turn out to be a
// visitor: a handshake that is under way would be cut off. Not for ever: whoever
// sends nothing but SYNs must not keep a site awake.
func (p Policy) arriving(arrived, idle, due time.Duration) time.Duration {
	if arrived == 0 || arrived >= p.Linger || idle >= due+2*p.Linger {
		return 0
	}
	return p.Linger - arrived
}

func (r *Replica) nextRung(p Policy) (Rung, bool) {
	below := r.Tier
	if r.given.Depth() > below.Depth() {
		below = r.given
	}
	return p.nextRung(below)
}

func (e IdleOver) on(m *Machine, now time.Time) []Action {
	if m.gates.at(e.ID) >= 0 && !m.replicas.anyButSpares() {
		return append(m.gates.drop(0), Note{Kind: event.Parked, Reason: "nobody came while it was prepared"})
	}
	r := m.replicas.byID(e.ID)
	if r == nil || (r.State != Ready && r.State != Asleep) || r.role == roleSpare || m.policy.Min > 0 {
		return nil
	}
	rung, ok := r.nextRung(m.policy)
	if !ok {
		return nil
	}
	if e.Conns > 0 || m.waiting { // a visitor who is held for a port of it is one too
		r.work = work{}
		r.visit.due = r.visit.due && e.Conns == 0
		return []Action{ArmIdle{ID: r.ID, After: r.visit.sooner(m.policy, rung.After)}}
	}
	due, reason := rung.After, "idle "+rung.After.String()
	if p := m.policy; r.State == Ready && r.visit.due && p.Unused > 0 && p.Unused < due {
		if left := r.visit.by.Sub(now); left > 0 {
			return []Action{ArmIdle{ID: r.ID, After: left}}
		}
		r.visit.due = e.IdleFor >= now.Sub(r.visit.since) // else somebody has used it, and gone
		if r.visit.due {
			due, reason = p.Unused, "no connection came of its wake within "+p.Unused.String()
		}
	}
	if e.IdleFor < due {
		r.work = work{}
		return []Action{ArmIdle{ID: r.ID, After: due - e.IdleFor}}
	}
	surplus := r.State == Ready && m.Serving() > 1
	if surplus && e.IdleFor < m.policy.Surplus {
		return []Action{ArmIdle{ID: r.ID, After: m.policy.Surplus - e.IdleFor}}
	}
	if left := m.policy.arriving(e.Arrived, e.IdleFor, due); left > 0 {
		return []Action{ArmIdle{ID: r.ID, After: left}}
	}
	if !stays(rung.Tier) && m.replicas.find(Draining) != nil {
		// Without it the one that drains would serve again, which is of an older spec.
		return []Action{ArmIdle{ID: r.ID, After: max(m.policy.Linger, time.Second)}}
	}
	if acts := r.work.keeps(m.policy, r, e, rung, now); acts != nil {
		return acts
	}
	reason += r.work.over(m.policy, e.Busy)
	if surplus {
		m.want = max(m.policy.least(), m.Serving()-1)
		return m.drain(r, causeSurplus, reason+", others serve")
	}
	return r.close(rung.Tier, causeIdle, reason)
}

// close is the first half of going to sleep. Towards a tier on which the
// replica keeps its place it is marked, so that a packet tells of itself; else
// new flows are held from now on. Then the counters are read once more, so that
// no visitor who was quicker than the decision is cut off.
func (r *Replica) close(to detect.Tier, why cause, reason string) []Action {
	r.State, r.target, r.cause, r.Reason, r.work = Closing, to, why, reason, work{}
	return []Action{Publish{}, Recheck{ID: r.ID}}
}

// on puts it there. The counters are read once more, as at each sleep.
func (e Evicted) on(m *Machine, _ time.Time) []Action {
	r := m.replicas.byID(e.ID)
	if r == nil || r.State != Asleep || r.role == roleSpare || m.waiting || e.Tier.Depth() <= r.Tier.Depth() {
		return nil
	}
	if !stays(e.Tier) && m.replicas.find(Draining) != nil {
		return nil // as in IdleOver
	}
	return r.close(e.Tier, causeAsked, e.Reason)
}

func (e Rechecked) on(m *Machine, _ time.Time) []Action {
	r := m.replicas.byID(e.ID)
	if r == nil || r.State != Closing {
		return nil
	}
	rung, _ := m.policy.rung(r.target) // none if the ladder has changed meanwhile
	needed := r.visit.sooner(m.policy, rung.After)
	used := e.Conns > 0 || (r.cause == causeIdle && (e.Flows > 0 || e.IdleFor < needed))
	r.visit.due = r.visit.due && !used
	idle := e.IdleFor
	if r.cause != causeIdle {
		idle = 0 // who asks for it does so once, and is told that somebody is coming
	}
	// Whoever came between the decision and the holding back is seen here.
	if used || m.policy.arriving(e.Arrived, idle, needed) > 0 {
		return m.rouse(r, "a connection came while parking")
	}
	r.visit = visit{}
	if r.target == detect.TierCold || r.target == detect.TierPrepared {
		if r.target == detect.TierPrepared {
			r.then = thenPrepare
		}
		return r.stop(r.Reason)
	}
	r.State = Suspending
	return []Action{Descend{ID: r.ID, Tier: r.target}}
}

func (e Descended) on(m *Machine, _ time.Time) []Action {
	r := m.replicas.byID(e.ID)
	if r == nil || r.State != Suspending || r.target != e.Tier {
		return nil // it was called back
	}
	fresh := r.Tier == detect.TierRunning
	r.Tier = e.Tier
	if e.Tier == detect.TierCheckpointed {
		r.State = Stopping // its processes have served
		return []Action{Publish{}, Stop{ID: r.ID, Kill: true}}
	}
	r.State = Asleep
	if r.old {
		return r.stop(m.renewing)
	}
	if r.role == roleSpare {
		return []Action{Note{Kind: event.Spare, Replica: r.ID, Reason: "stands ready, frozen"}}
	}
	acts := []Action{Note{Kind: string(e.Tier), Replica: r.ID, Reason: r.Reason}}
	if fresh {
		acts = append(acts, r.armConns(m.policy, m.policy.KeepConns)...)
	}
	return append(acts, r.armIdle(m.policy)...)
}

func (e DescendFailed) on(m *Machine, _ time.Time) []Action {
	r := m.replicas.byID(e.ID)
	if r == nil || r.State != Suspending || r.target != e.Tier {
		return nil
	}
	note := Note{
		Kind: event.Not + string(e.Tier), Replica: r.ID, Reason: e.Reason,
		Detail: "the site goes on to the next rung of its ladder, and this one is tried again later",
	}
	if r.role == roleSpare {
		m.spareFailures++
		return append([]Action{note}, r.stop("it cannot be kept frozen")...)
	}
	r.given, r.target = e.Tier, r.Tier
	if _, deeper := r.nextRung(m.policy); !deeper {
		r.given = detect.TierRunning // nothing but to try it again
	}
	r.State = Asleep
	if r.Tier == detect.TierRunning {
		r.State = Ready
	}
	acts := append([]Action{Publish{}}, note)
	if m.byHand { // somebody wants it to sleep: then for good
		return append(acts, r.close(detect.TierCold, causeAsked, r.Reason)...)
	}
	if r.State == Ready {
		acts = append(acts, m.release(r)...)
		acts = append(acts, r.armPortGrace(m.policy)...)
		if r.old {
			acts = append(acts, m.renew()...)
		}
		acts = append(acts, m.bound()...)
	}
	acts = append(acts, r.armConns(m.policy, m.policy.KeepConns)...)
	return append(acts, r.armIdle(m.policy)...)
}

func (e Knocked) on(m *Machine, now time.Time) []Action {
	r := m.replicas.byID(e.ID)
	if r == nil || r.role == roleSpare {
		return nil
	}
	if r.State == Closing || r.State == Suspending || r.State == Asleep {
		if e.Outdated != "" { // it serves who is there until the next one does
			r.old = true
			m.renewing = cmp.Or(m.renewing, e.Outdated)
		}
		r.visit.due, r.visit.since = true, now
		return m.rouse(r, "a packet came")
	}
	return nil
}

// on ends it before anybody is served by it.
func (e Outdated) on(m *Machine, _ time.Time) []Action {
	note := Note{Kind: event.Outdated, Replica: e.ID, Reason: e.Reason}
	if i := m.gates.at(e.ID); i >= 0 {
		m.gates = slices.Delete(m.gates, i, i+1)
		return []Action{Unprepare{ID: e.ID}, note}
	}
	r := m.replicas.byID(e.ID)
	if r == nil || r.State != Asleep {
		return nil
	}
	return append([]Action{note}, r.stop(e.Reason)...)
}

// rouse calls a replica back that sleeps or is on its way there.
func (m *Machine) rouse(r *Replica, reason string) []Action {
	if r.State == Closing && r.Tier == detect.TierRunning { // nothing was done to it yet
		return m.reopen(r, reason)
	}
	return m.ascend(r, reason)
}

func (m *Machine) ascend(r *Replica, reason string) []Action {
	r.State, r.Reason, r.target, m.byHand = Resuming, reason, detect.TierRunning, false
	acts := append([]Action{Publish{}, Ascend{ID: r.ID}}, m.release(r)...)
	return append(acts,
		ArmStart{ID: r.ID, After: m.policy.StartTimeout},
		Note{Kind: event.Waking, Replica: r.ID, Reason: reason})
}

func (e Ascended) on(m *Machine, _ time.Time) []Action {
	r := m.replicas.byID(e.ID)
	if r == nil || r.State != Resuming && r.State != Draining {
		return nil
	}
	r.Tier = detect.TierRunning
	if r.State == Draining { // replaced while it was made to run
		return nil
	}
	if r.origin == originJoining {
		r.origin = originLent
	}
	m.joined()
	acts := m.reopen(r, r.Reason)
	if !r.living { // it was the spare one
		acts = append(acts, r.armLife(m.policy)...)
	}
	return acts
}

// reopen makes it one that serves, again.
func (m *Machine) reopen(r *Replica, reason string) []Action {
	if r.State == Draining && r.Tier != detect.TierRunning { // it was drained while it was made to run, and is so still
		r.State, r.Reason, m.byHand = Resuming, reason, false
		return []Action{
			Publish{}, ArmStart{ID: r.ID, After: m.policy.StartTimeout}, Note{Kind: event.Waking, Replica: r.ID, Reason: reason},
		}
	}
	r.State, r.Reason, m.byHand = Ready, "", false
	r.target, r.given = detect.TierRunning, detect.TierRunning
	r.visit.by = m.now.Add(m.policy.Unused)
	acts := append([]Action{Publish{}}, m.release(r)...)
	acts = append(acts, Note{Kind: event.Running, Replica: r.ID, Reason: reason})
	acts = append(acts, r.armPortGrace(m.policy)...)
	acts = append(acts, r.armIdle(m.policy)...)
	if r.old { // its replacement was put off
		acts = append(acts, m.renew()...)
	}
	acts = append(acts, m.reconcile("found more or less than are wanted")...)
	return append(acts, m.bound()...)
}
