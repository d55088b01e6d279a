package node

import (
	"context"
	"fmt"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// reclaim pushes the memory of a frozen replica out, as far as it is asked for.
func (n *Node) reclaim(ctx context.Context, r *replica, s *spec.Site) error {
	g := r.ctr.Group()
	has, err := g.MemoryCurrent()
	if err != nil {
		return err
	}
	node, err := n.memory.read()
	if err != nil {
		return err
	}
	want := reclaimable(reclaimInput{
		has: has, keep: max(uint64(n.cfg.Reclaim.Keep), uint64(s.Limits.Memory.Min)),
		asked: !s.Tiers.Auto, available: node.available, total: node.total, below: n.cfg.Reclaim.Below.Share(),
	})
	got, err := g.Reclaim(ctx, want)
	n.log.Debug("reclaimed", "replica", r.name, "had", has, "wanted", want, "got", got, "error", err)
	return err
}

type reclaimInput struct {
	has, keep        uint64 // bytes of the replica
	asked            bool   // the spec names the tier
	available, total uint64 // bytes of the node
	below            float64
}

// reclaimable is how much is to be pushed out: all but what is to be kept if the
// spec says so, else no more than the node lacks.
func reclaimable(in reclaimInput) uint64 {
	most := in.has - min(in.keep, in.has)
	if in.asked {
		return most
	}
	enough := uint64(in.below * float64(in.total))
	return min(most, enough-min(in.available, enough))
}

// findTier says how a replica that was found sleeps. One whose mark is gone has a
// visitor: his knock may have died with the daemon that read it. Anything
// half-done is undone. A spare one has no mark: nothing is sent to it.
func (n *Node) findTier(r *replica, s *spec.Site, st bpf.ReplicaStats, was *site.Found) {
	defer func() { n.boundSwap(r, s, r.frozen) }()
	r.asleep = st.Asleep
	frozen, err := r.ctr.Group().Frozen()
	if err != nil {
		n.log.Error("cannot tell whether a replica is frozen; taking it for awake", "replica", r.name, "error", err)
	}
	if !frozen {
		return
	}
	if st.Asleep || was.Spare {
		r.frozen = true
		was.Asleep = detect.TierFrozen
		return
	}
	if err := r.ctr.Group().Thaw(n.ctx); err != nil {
		n.log.Error("cannot thaw a replica; its visitors wait", "replica", r.name, "error", err)
	}
}

// rouse makes a sleeping replica run for who needs it otherwise than by packets.
func (n *Node) rouse(ctx context.Context, e *entry, r *replica) error {
	n.send(e, site.Knocked{ID: r.id}) // one that runs passes over it
	err := n.wait(ctx, e, func(a *active) bool { return a == nil || a.awake(r.id) })
	if err != nil {
		return fmt.Errorf("wait for replica %s to run again: %w", r.name, err)
	}
	return nil
}

// awake says whether a replica runs, or never will.
func (a *active) awake(id site.ReplicaID) bool {
	m, ok := a.machine.Replica(id)
	return !ok || (m.Tier == detect.TierRunning && m.State != site.Sinking && m.State != site.Rising)
}

// followRise gives a replica that is to run again the trace of the packet or the
// person for whom it is, if there is one. The caller holds e.mu.
func (n *Node) followRise(e *entry, r *replica) {
	if r.trace != nil || e.active.trace == nil {
		return
	}
	r.trace, e.active.trace = e.active.trace, nil
	r.trace.replica(r.name)
	if m, ok := e.active.machine.Replica(r.id); ok {
		r.trace.from(m.Tier)
	}
}

// endByHand ends the trace of a wake that no packet began. The caller holds the
// entry's mu.
func (n *Node) endByHand(r *replica) {
	if r.trace.byHand() && !r.trace.knocked() {
		r.endWake()
		n.endTrace(r.trace, event.ResultOK, "")
		r.trace = nil
	}
}
