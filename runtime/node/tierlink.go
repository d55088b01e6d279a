package node

import (
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// ladder is what the site's machine climbs down. The caller holds e.mu.
func (n *Node) ladder(_ *entry, s *spec.Site) []site.Rung {
	if s.Idle.Never {
		return nil
	}
	if s.Tiers.Auto {
		return []site.Rung{{Tier: site.TierCold, After: time.Duration(s.Idle.After)}}
	}
	var out []site.Rung
	last := time.Duration(s.Idle.After)
	for _, r := range s.Tiers.Rungs {
		if r.After > 0 {
			last = time.Duration(r.After)
		}
		out = append(out, site.Rung{Tier: site.Tier(r.Tier), After: last})
	}
	return out
}

// descend freezes. The caller holds e.mu.
func (n *Node) descend(e *entry, id site.ReplicaID, tier site.Tier) {
	r := e.active.replicas[id]
	n.work.Go(func() {
		if tier != site.TierFrozen {
			n.send(e, site.DescendFailed{ID: id, Tier: tier, Reason: "this node freezes only"})
			return
		}
		if err := r.ctr.Group().Freeze(n.ctx); err != nil {
			n.send(e, site.DescendFailed{ID: id, Tier: tier, Reason: err.Error()})
			return
		}
		n.send(e, site.Descended{ID: id, Tier: tier})
	})
}

// ascend thaws. The caller holds e.mu.
func (n *Node) ascend(e *entry, id site.ReplicaID) {
	r := e.active.replicas[id]
	n.work.Go(func() {
		if err := r.ctr.Group().Thaw(n.ctx); err != nil {
			n.log.Error("cannot thaw a replica", "replica", r.name, "error", err)
			return // the timer of its start ends it
		}
		e.mu.Lock()
		if r.trace != nil {
			r.trace.mark(api.StepThawed, bpf.Now())
		}
		e.mu.Unlock()
		n.send(e, site.Ascended{ID: id})
	})
}

func (n *Node) prepare(e *entry, id site.ReplicaID) {
	n.work.Go(func() { n.send(e, site.PrepareFailed{ID: id, Reason: "this node prepares nothing"}) })
}

func (n *Node) unprepare(*entry, site.ReplicaID) {}

func (n *Node) openGate(e *entry, id site.ReplicaID) {
	n.beginStart(e, site.Start{ID: id})
}

func (n *Node) dropSleep(*entry, string) {}

// findTier says how a replica that was found sleeps.
func (n *Node) findTier(r *replica, st bpf.ReplicaStats, was *site.Found) {
	r.asleep = st.Asleep
	if frozen, err := r.ctr.Group().Frozen(); err != nil || !frozen {
		return
	}
	if st.Asleep {
		was.Asleep = site.TierFrozen
		return
	}
	// its knock was lost with the daemon that read it
	if err := r.ctr.Group().Thaw(n.ctx); err != nil {
		n.log.Error("cannot thaw a replica", "replica", r.name, "error", err)
	}
}
