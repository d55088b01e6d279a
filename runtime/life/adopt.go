package life

import (
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/site"
)

// Adopt takes over a replica that an earlier daemon has started.
func Adopt(st *Site, id site.ReplicaID, c Container, kernel bpf.Replica, ns Namespace, stats bpf.ReplicaStats, set bpf.Site) error {
	refuseTwin(st)
	return withMachine(st, func(l *Live) error { return l.adopt(id, c, kernel, ns, stats, set) })
}

func (l *Live) adopt(id site.ReplicaID, c Container, kernel bpf.Replica, ns Namespace, stats bpf.ReplicaStats, set bpf.Site) error {
	// what was on its way to the earlier daemon will not come
	ready4, ready6, err := l.Host.Data.TakePorts(bpf.ReplicaID(id))
	if err != nil {
		return err
	}
	stats.Ready4, stats.Ready6 = ready4, ready6
	r := &Replica{
		ID: id, Name: container.Name(c.ID()), Started: c.Created(), Image: c.Meta()[metaImage],
		cancel: func() {}, ns: ns, kernel: kernel, Ctr: c, closed: stats.Closed, ports: ports{ready4: ready4, ready6: ready6},
		sources: theirs(c.Sources(), l.Host.NamedVolumes.Dir()),
	}
	l.Replicas[r.ID] = r
	l.Host.Numbers.Above(uint32(id))
	l.NumberAfter(r.Name)
	was := site.Found{Ready: stats.Ready4|stats.Ready6 != 0 && !stats.Closed}
	placed(&was, bpf.ReplicaID(r.ID), set)
	l.Host.findTier(r, l.Spec, stats, &was)
	for _, act := range l.Machine.Adopt(time.Now(), r.ID, was) {
		l.perform(act)
	}
	st := l.Site
	st.goKeep(r, func() { st.watch(r) })
	if r.closed && stats.Ready4|stats.Ready6 != 0 {
		l.awaitReady(r)
	}
	l.Host.Tell(event.Event{Site: l.Name, Replica: r.Name, Kind: event.Adopted, Reason: "found running at the daemon's start"})
	return nil
}

// AllAdopted has the machine act on what it was given: a spec that was applied,
// but the last daemon died before it acted on it; two replicas of which one was
// to replace the other.
func (l *Live) AllAdopted() {
	a := l.Activity
	if a == nil {
		return
	}
	l.handle(site.AllAdopted{})
	changed, apart := false, false
	for _, r := range a.Replicas {
		l.proveAgain(r)
		changed = changed || r.Ctr != nil && r.Ctr.Meta()[metaSpec] != a.Spec.Digest()
		apart = apart || r.Ctr != nil && r.Ctr.Meta()[metaPorts] != portsMeta(a.Spec)
	}
	if changed && l.Activity == a {
		l.handle(site.SpecChanged{Apart: apart})
	} else if pinned := l.Pinned.Value(); pinned != "" {
		l.RenewImage(pinned)
	}
}

// placed says what the data path's set of a site tells of a replica. One that is
// not in it though others are is a spare one, or was being made or ended: whoever
// is to get packets is put there first, and taken out last.
func placed(was *site.Found, id bpf.ReplicaID, set bpf.Site) {
	in, others := false, false
	for _, r := range set.Replicas {
		if r.ID == id {
			in, was.Draining = true, r.Draining
			continue
		}
		others = others || !r.Draining
	}
	was.Spare = !in && others
}
