package node

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/site"
)

// ladderEvery is how often the ladders of sites that are awake, or sleep lightly, are chosen
// anew. What they rest on changes without anything happening to the site: a tier that
// was given up may be tried again, the node's memory becomes short.
const ladderEvery = 15 * time.Second

func (n *Node) newLadders() {
	for _, e := range n.awake.all() {
		e.mu.Lock()
		if e.active != nil && !e.gone {
			n.newLadder(e)
		}
		e.mu.Unlock()
	}
}

// newLadder tells the site's machine its policy as it is now. Where the ladder has
// changed, replicas that wait for their next rung wait for the new one. The caller holds e.mu.
func (n *Node) newLadder(e *entry) {
	a := e.active
	p := n.policy(e, a.spec)
	a.machine.SetPolicy(p)
	if slices.Equal(a.rungs, p.Ladder) {
		return
	}
	a.rungs = p.Ladder
	if a.experience != nil {
		n.tellLadder(e)
	}
	for id, r := range a.replicas {
		at, ok := a.machine.Replica(id)
		if !ok || r.gate != nil || (at.State != site.Ready && at.State != site.Asleep) {
			continue
		}
		_, idle := n.activity(e, id)
		if after, ok := dueIn(p.Ladder, at.Tier, idle); ok {
			n.perform(e, site.ArmIdle{ID: id, After: after})
		}
	}
}

// dueIn is when a replica that sleeps on a tier, or is awake, is to go on, if it is to. Many may be
// overdue by the same change; they do not all go at once.
func dueIn(ladder []site.Rung, at detect.Tier, idle time.Duration) (time.Duration, bool) {
	for _, r := range ladder {
		if r.Tier.Depth() <= at.Depth() {
			continue
		}
		if idle < r.After {
			return r.After - idle, true
		}
		return rand.N(1 + min(ladderEvery, r.After)), true //nolint:gosec // nothing secret about it
	}
	return 0, false
}
