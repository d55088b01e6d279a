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

// fillLadder shows how the site sleeps, by what it has taught.
func (s *Status) fillLadder(x *policy.Experience, v *api.Site) {
	if v.Spec.Idle.Never {
		return
	}
	in := s.host.Input(v.Spec, x)
	v.Level = (*api.Level)(s.host.Plans.LevelOf(in))
	c := in.Choose()
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
		var v api.Site
		if s.host.Guard(e, func() { v = s.View(e) }) { // else it is quarantined now
			out = append(out, v)
		}
	}
	if views := s.quarantined(); !opts.Awake && len(views) > 0 {
		out = slices.DeleteFunc(out, func(v api.Site) bool { _, bad := views[v.Name]; return bad })
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
		v := api.Site{Name: name, Tier: api.TierCold, Replicas: []api.Replica{}}
		if e, err := s.table.ByName(name); err == nil { // its handling has panicked
			s.host.Guard(e, func() { v = s.View(e) })
		}
		v.Phase = api.PhaseQuarantined
		v.Decision = &api.Decision{Action: event.Quarantined, Reason: why.Error()}
		v.Error = &api.SiteError{Message: why.Error() + "; apply its spec again, or delete it"}
		out[name] = v
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
	e.CountOwn()
	v := s.View(e)
	v.Spec, v.Revision = &kept.Spec, max(kept.Revision, 1)
	earlier, err := s.host.Store.Versions(name)
	if err != nil {
		return api.Site{}, err
	}
	for i := range earlier {
		w := &earlier[i]
		v.Versions = append(v.Versions, api.Version{Revision: w.Revision, Replaced: w.Replaced, ImageDigest: w.Image, Spec: &w.Spec})
	}
	bounded := life.Bounded(&s.host.Cfg, &kept.Spec)
	if len(v.Replicas) == 0 {
		s.fillLimits(&v, bounded, nil)
	}
	v.NotScaled = scale.Lacking(bounded.Limits, s.cgroups, s.host.Has)
	v.SpareUnused = policy.NoSpare(&kept.Spec, s.host.Means.Can)
	life.WithLearnt(e, func(_ *life.Live, x *policy.Experience) { s.fillLadder(x, &v) })
	if c, ok := life.CirculationOf(e); ok {
		v.Circulation = &api.Circulation{Born: c.Born, At: time.Now().Add(c.After).Round(time.Second), Latest: c.Latest.Round(time.Second), Why: c.Why}
	}
	if v.Ignored, err = s.ignoredOf(e); err != nil {
		return api.Site{}, err
	}
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
		Tier: tierOf(l), Phase: api.PhaseParked, Replicas: []api.Replica{}, ReplicasMin: int(l.Least), ReplicasMax: int(l.Most),
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
	return v
}

// tierOf is the tier of a site's most awake replica, or what is left of it.
func tierOf(l *life.Live) api.Tier {
	tier := api.TierCold
	if a := l.Activity; a != nil {
		for _, m := range a.Machine.Replicas() {
			r := a.Replicas[m.ID]
			if r == nil {
				continue
			}
			if t := replicaTier(r, m); tier == api.TierCold || t == api.TierRunning {
				tier = t
			}
		}
		there := func(id site.ReplicaID) bool { return a.Replicas[id] != nil }
		if tier == api.TierCold && slices.ContainsFunc(a.Machine.Prepared(), there) {
			tier = api.TierPrepared
		}
	}
	if tier == api.TierCold && l.ImageIsOrWillBe() {
		tier = api.TierCheckpointed
	}
	return tier
}

// replicaTier is cold until there is a container. It listens a little before that is
// known.
func replicaTier(r *life.Replica, m site.Replica) api.Tier {
	if r.Ctr != nil || m.State == site.Ready {
		return m.Tier
	}
	return api.TierCold
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
		view := api.Replica{ID: r.Name, Tier: replicaTier(r, m), Started: r.Started, Image: r.Image, State: string(m.State), Spare: m.Spare()}
		if r.Ctr != nil {
			view.PID = r.Ctr.Pid()
		}
		if st, err := l.Host.Data.Stats(bpf.ReplicaID(r.ID)); err == nil {
			view.Conns = api.Conns{Now: st.ConnsNow, Total: st.ConnsTotal}
			v.Conns.Now += st.ConnsNow
			v.Conns.Total += st.ConnsTotal
			u := l.Use(r.ID)
			view.Flows = u.Flows
			v.Flows += u.Flows
			used = used || u.Conns+u.Flows > 0
			if u.Idle < idle && !m.Spare() {
				idle = u.Idle
			}
		}
		if m.State == site.Asleep {
			view.OwnConns = r.OwnConns
			v.OwnConns += r.OwnConns
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
	}
	if len(v.Replicas) > 0 && idle < time.Duration(1<<63-1) {
		v.Idle = event.Nanoseconds(idle)
	}
	if used {
		v.Idle = 0
	}
	s.viewLoad(l, v)
	if use, known := s.host.Disks.Use(l.Name); known {
		if v.Usage == nil {
			v.Usage = &api.Usage{}
		}
		v.Usage.Disk, v.Usage.Inodes = new(int64(use.Bytes)), new(int64(use.Inodes))
	}
	s.viewScaling(l, v)
}
