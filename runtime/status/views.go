package status

import (
	"context"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/policy"
	"github.com/fcnode/fcnode/runtime/scale"
	"github.com/fcnode/fcnode/runtime/site"
)

// fillLadder shows how the site sleeps. It reads what a parked site has taught
// from its file.
func (s *Status) fillLadder(l *life.Live, v *api.Site) {
	if v.Spec.Idle.Never {
		return
	}
	x := l.WhatWasLearnt()
	c := policy.Input{Spec: v.Spec, Experience: x, Can: s.host.Means.Can, Now: time.Now(), Pressure: s.host.Means.Pressure()}.Choose()
	for _, r := range policy.View(c, x) {
		v.Ladder = append(v.Ladder, api.Rung(r))
	}
	for _, r := range policy.Unused(c) {
		v.LadderUnused = append(v.LadderUnused, api.Rung(r))
	}
}

// List implements api.Backend.
func (s *Status) List(ctx context.Context, opts api.ListOptions) ([]api.Site, error) {
	entries := s.host.Awake.All()
	if !opts.Awake {
		entries = s.table.All()
	}
	slices.SortFunc(entries, func(a, b *life.Site) int { return strings.Compare(a.Name, b.Name) })
	out := make([]api.Site, 0, len(entries))
	for i, e := range entries {
		if i%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if opts.Awake && !e.IsLive() {
			continue
		}
		out = append(out, s.View(e))
	}
	if views := s.quarantined(); !opts.Awake && len(views) > 0 {
		out = slices.AppendSeq(out, maps.Values(views))
		slices.SortFunc(out, func(a, b api.Site) int { return strings.Compare(a.Name, b.Name) }) //nolint:gocritic // they are few
	}
	return out, nil
}

// quarantined are the sites that cannot be served, for people.
func (s *Status) quarantined() map[string]api.Site {
	bad := s.host.Quarantine.Sites()
	out := make(map[string]api.Site, len(bad))
	for name, why := range bad {
		out[name] = api.Site{
			Name: name, Tier: api.TierCold, Phase: api.PhaseQuarantined, Replicas: []api.Replica{},
			Decision: &api.Decision{Action: event.Quarantined, Reason: why.Error()},
			Error:    &api.SiteError{Message: why.Error() + "; apply its spec again, or delete it"},
		}
	}
	return out
}

// Get implements api.Backend.
func (s *Status) Get(_ context.Context, name string) (api.Site, error) {
	e, err := s.table.ByName(name)
	if v, bad := s.quarantined()[name]; bad {
		return v, nil
	}
	if err != nil {
		return api.Site{}, err
	}
	kept, err := s.host.Store.Get(name)
	if err != nil {
		return api.Site{}, err
	}
	v := s.View(e)
	v.Spec = &kept.Spec
	if len(v.Replicas) == 0 {
		s.fillLimits(&v, kept.Spec.Limits, nil)
	}
	v.NotScaled = scale.Lacking(kept.Spec.Limits, s.cgroups, s.host.Has)
	v.SpareUnused = policy.NoSpare(&kept.Spec, s.host.Means.Can)
	e.With(func(l *life.Live) { s.fillLadder(l, &v) })
	return v, nil
}

// View shows one site.
func (s *Status) View(e *life.Site) (v api.Site) {
	s.host.Scale.RefreshLoads() // for all who are looked at soon, and before anybody's lock
	e.With(func(l *life.Live) { v = s.viewSite(l) })
	return v
}

func (s *Status) viewSite(l *life.Live) api.Site {
	v := api.Site{
		Name: l.Name, ID: uint32(l.ID), Addresses: l.Addrs(), Domains: l.Domains,
		Tier: api.TierCold, Phase: api.PhaseParked, Replicas: []api.Replica{}, ReplicasMin: int(l.Least), ReplicasMax: int(l.Most),
		SpecDigest: "sha256:" + hex.EncodeToString(l.Digest[:]), ImageDigest: l.Pinned.Value(),
	}
	for _, p := range l.Ports {
		v.Ports = append(v.Ports, p.String())
	}
	if h := l.History; h != nil {
		v.Decision, v.Error = h.Decision, h.Failure
		if !h.Idle.IsZero() {
			v.Idle = event.Nanoseconds(time.Since(h.Idle))
		}
	}
	if l.Activity != nil {
		s.viewActive(l, &v)
	}
	if v.Tier == api.TierCold && l.ImageIsOrWillBe() {
		v.Tier = api.TierCheckpointed
	}
	return v
}

// viewActive fills in what a site that is not parked has.
func (s *Status) viewActive(l *life.Live, v *api.Site) {
	a := l.Activity
	v.Phase = api.Phase(a.Machine.Phase())
	idle, used := time.Duration(1<<63-1), false
	for _, m := range a.Machine.Replicas() {
		r := a.Replicas[m.ID]
		if r == nil {
			continue
		}
		view := api.Replica{ID: r.Name, Tier: api.TierCold, Started: r.Started, Image: r.Image, State: string(m.State), Spare: m.Spare()}
		if r.Ctr != nil {
			view.PID = r.Ctr.Pid()
		}
		if r.Ctr != nil || m.State == site.Ready { // it listens a little before its container is known
			view.Tier = m.Tier
			if v.Tier == api.TierCold || view.Tier == api.TierRunning {
				v.Tier = view.Tier
			}
		}
		if st, err := l.Host.Data.Stats(bpf.ReplicaID(r.ID)); err == nil {
			view.Conns = api.Conns{Now: st.ConnsNow, Total: st.ConnsTotal}
			v.Conns.Now += st.ConnsNow
			v.Conns.Total += st.ConnsTotal
			u := l.Use(r.ID)
			used = used || u.Conns > 0
			if u.Idle < idle && !m.Spare() {
				idle = u.Idle
			}
		}
		v.Replicas = append(v.Replicas, view)
	}
	for _, id := range a.Machine.Prepared() {
		r := a.Replicas[id]
		if r == nil {
			continue
		}
		v.Replicas = append(v.Replicas, api.Replica{
			ID: r.Name, Tier: api.TierPrepared, Started: r.Started, Image: r.Image, State: string(api.TierPrepared), Spare: v.Phase == api.PhaseRunning,
		})
		if v.Tier == api.TierCold {
			v.Tier = api.TierPrepared
		}
	}
	if len(v.Replicas) > 0 && idle < time.Duration(1<<63-1) {
		v.Idle = event.Nanoseconds(idle)
	}
	if used {
		v.Idle = 0
	}
	s.viewLoad(l, v)
	s.viewScaling(l, v)
}
