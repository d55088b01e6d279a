package site

import (
	"fmt"
	"time"

	"github.com/fcnode/fcnode/detect"
)

// A replica that sleeps with its processes keeps the connections that it has opened
// itself, to a database, say, which has only so many. ConnsHeld tells of them when the
// policy's time is over; then the replica goes on to a tier without processes.

// armConns sets the timer of those connections, once for each sleep.
func (r *Replica) armConns(p Policy, after time.Duration) []Action {
	if p.KeepConns == 0 || !stays(r.Tier) || r.role == roleSpare {
		return nil
	}
	return []Action{ArmConns{ID: r.ID, After: after}}
}

// connsRetry is when they are looked at again of a replica that is on its way from
// one tier to the next.
const connsRetry = 10 * time.Second

func (e ConnsHeld) on(m *Machine, _ time.Time) []Action {
	r := m.replicas.byID(e.ID)
	if r == nil || e.Own == 0 || m.policy.KeepConns == 0 {
		return nil // one that is frozen opens no others
	}
	if r.State == Closing || r.State == Suspending {
		return r.armConns(m.policy, connsRetry)
	}
	if r.State != Asleep || r.role == roleSpare || !stays(r.Tier) {
		return nil
	}
	to := detect.TierCold
	for _, rung := range m.policy.Ladder {
		if !stays(rung.Tier) && rung.Tier.Depth() > r.given.Depth() {
			to = rung.Tier
			break
		}
	}
	return r.close(to, causeAsked, fmt.Sprintf("it held %d connections of its own for %s", e.Own, m.policy.KeepConns))
}
