package life

import (
	"slices"

	"github.com/fcnode/fcnode/runtime/policy"
	"github.com/fcnode/fcnode/runtime/site"
)

// newLadder tells the site's machine its policy as it is now. Where the ladder has
// changed, replicas that wait for their next rung wait for the new one.
func (l *Live) newLadder() {
	a := l.Activity
	p := l.Host.policy(a.Spec, a.experience)
	a.Machine.SetPolicy(p)
	if slices.Equal(a.rungs, p.Ladder) {
		return
	}
	a.rungs = p.Ladder
	l.tellLadder()
	for id, r := range a.Replicas {
		at, ok := a.Machine.Replica(id)
		if !ok || r.gate != nil || (at.State != site.Ready && at.State != site.Asleep) {
			continue
		}
		if after, ok := policy.Due(p.Ladder, at.Tier, l.Use(id).Idle); ok {
			l.perform(site.ArmIdle{ID: id, After: after})
		}
	}
}

// NewLadders chooses the ladders of all live sites anew.
func (h *Host) NewLadders() {
	for _, e := range h.Awake.All() {
		h.each(e, func(l *Live) {
			if l.Activity != nil && !l.gone {
				l.newLadder()
			}
		})
	}
}
