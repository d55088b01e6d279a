package node

import (
	"context"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/site"
)

// List implements api.Backend.
func (n *Node) List(ctx context.Context, opts api.ListOptions) ([]api.Site, error) {
	entries := n.awake.all()
	if !opts.Awake {
		entries = n.all()
	}
	slices.SortFunc(entries, func(a, b *entry) int { return strings.Compare(a.name, b.name) })
	out := make([]api.Site, 0, len(entries))
	for i, e := range entries {
		if i%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if opts.Awake && !e.awake() {
			continue
		}
		out = append(out, n.view(e))
	}
	if views := n.quarantine.views(); !opts.Awake && len(views) > 0 {
		out = slices.AppendSeq(out, maps.Values(views))
		slices.SortFunc(out, func(a, b api.Site) int { return strings.Compare(a.Name, b.Name) }) //nolint:gocritic // they are few
	}
	return out, nil
}

// Get implements api.Backend.
func (n *Node) Get(_ context.Context, name string) (api.Site, error) {
	e, err := n.byName(name)
	if v, bad := n.quarantine.views()[name]; bad {
		return v, nil
	}
	if err != nil {
		return api.Site{}, err
	}
	kept, err := n.store.Get(name)
	if err != nil {
		return api.Site{}, err
	}
	v := n.view(e)
	v.Spec = &kept.Spec
	if len(v.Replicas) == 0 {
		n.fillLimits(&v, kept.Spec.Limits, nil)
	}
	v.NotScaled = lacking(kept.Spec.Limits, n.host, n.parent.Has)
	v.SpareUnused = noSpare(&kept.Spec, n.can)
	n.fillLadder(e, &v)
	return v, nil
}

// awake says whether anything of the site runs or stands ready.
func (e *entry) awake() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.active != nil
}

func (n *Node) view(e *entry) api.Site {
	n.refreshLoads() // for all who are looked at soon, and before anybody's lock
	e.mu.Lock()
	defer e.mu.Unlock()
	v := api.Site{
		Name: e.name, ID: uint32(e.id), Addresses: e.addrs(), Domains: e.domains,
		Tier: api.TierCold, Phase: api.PhaseParked, Replicas: []api.Replica{}, ReplicasMin: int(e.least), ReplicasMax: int(e.most),
		SpecDigest: "sha256:" + hex.EncodeToString(e.digest[:]),
	}
	for _, p := range e.ports {
		v.Ports = append(v.Ports, p.String())
	}
	if h := e.history; h != nil {
		v.Decision, v.Error = h.decision, h.failure
		if !h.idle.IsZero() {
			v.Idle = api.Nanoseconds(time.Since(h.idle))
		}
	}
	if e.active != nil {
		n.viewActive(e, &v)
	}
	if v.Tier == api.TierCold && e.imageIsOrWillBe() {
		v.Tier = api.TierCheckpointed
	}
	return v
}

// viewActive fills in what a site that is not parked has. The caller holds e.mu.
func (n *Node) viewActive(e *entry, v *api.Site) {
	a := e.active
	v.Phase = api.Phase(a.machine.Phase())
	idle := time.Duration(1<<63 - 1)
	for _, m := range a.machine.Replicas() {
		r := a.replicas[m.ID]
		if r == nil {
			continue
		}
		view := api.Replica{ID: r.name, Tier: api.TierCold, Started: r.started, Image: r.image, State: string(m.State), Spare: m.Spare()}
		if r.ctr != nil {
			view.PID = r.ctr.Pid()
		}
		if r.ctr != nil || m.State == site.Ready { // it listens a little before its container is known
			view.Tier = apiTier(m.Tier)
			if v.Tier == api.TierCold || view.Tier == api.TierRunning {
				v.Tier = view.Tier
			}
		}
		if st, err := n.dp.Stats(bpf.ReplicaID(r.id)); err == nil {
			view.Conns = api.Conns{Now: st.ConnsNow, Total: st.ConnsTotal}
			v.Conns.Now += st.ConnsNow
			v.Conns.Total += st.ConnsTotal
			if _, quiet := n.activity(e, r.id); quiet < idle && !m.Spare() {
				idle = quiet
			}
		}
		v.Replicas = append(v.Replicas, view)
	}
	for _, id := range a.machine.Prepared() {
		r := a.replicas[id]
		if r == nil {
			continue
		}
		v.Replicas = append(v.Replicas, api.Replica{
			ID: r.name, Tier: api.TierPrepared, Started: r.started, Image: r.image, State: string(api.TierPrepared), Spare: v.Phase == api.PhaseRunning,
		})
		if v.Tier == api.TierCold {
			v.Tier = api.TierPrepared
		}
	}
	if len(v.Replicas) > 0 && idle < time.Duration(1<<63-1) {
		v.Idle = api.Nanoseconds(idle)
	}
	if v.Conns.Now > 0 {
		v.Idle = 0
	}
	n.viewLoad(e, v)
	n.viewScaling(e, v)
}
