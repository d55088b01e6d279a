package node

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	surge "github.com/fcnode/fcnode/detect/change"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// How often a site is looked at though nothing tells of it. The kernel tells what
// matters; the looks see what has ended, and that it stays so.
const (
	lookBusy  = time.Second
	lookCalm  = 15 * time.Second       // nobody is there, and there is nothing to give back
	lookAgain = 200 * time.Millisecond // after a raise: has it been enough?
	// After a decision the next is taken at once: a few are enough for all limits.
	mostDecisions = 8
)

// PSI triggers: waiting for so much of a window is worth a look.
const (
	pressureWindow = time.Second
	pressureCPU    = 200 * time.Millisecond
	pressureMemory = 100 * time.Millisecond
	pressureIO     = 200 * time.Millisecond
)

// scaling is what is known of a site that can be scaled, while it is awake. It is
// guarded by its entry's mu.
type scaling struct {
	spec    *spec.Site // that it was made of
	scaler  *detect.Scaler
	limits  siteLimits
	meter   meter
	normal  surge.Normal
	arrived uint64 // connections that it has counted
	counted uint64 // when

	alarm   surge.Alarm
	trigger bpf.Trigger // that the kernel has
	fired   map[string]*api.Trigger

	watched  map[site.ReplicaID][]io.Closer // what the kernel tells of its pressure
	bursting map[site.ReplicaID]uint64      // those that have the limits of a start still, and since when they serve
	outs     map[site.ReplicaID]uint64      // those that scaling out has begun, and when the trigger was
	begun    map[site.ReplicaID]uint64      // and when it was asked for

	timer    *time.Timer
	lowering bool   // the mark of memory is being lowered in the background
	full     string // the last decision that could not be carried out
}

// scalable says whether there is anything to scale.
func scalable(s *spec.Site) bool {
	return s.Scale.Max > max(1, s.Scale.Min) || s.Limits.Scaled()
}

// followScaling brings what watches a site in line with its replicas. It is called
// after each event of the site's machine. The caller holds e.mu.
func (n *Node) followScaling(e *entry) {
	a := e.active
	if a.scaling != nil && a.scaling.spec != a.spec {
		n.endScaling(e)
	}
	if a.scaling == nil && !scalable(a.spec) {
		return
	}
	ready := serving(e)
	if a.scaling == nil {
		if len(ready) == 0 {
			return
		}
		n.beginScaling(e, ready)
	}
	s := a.scaling
	if len(s.outs) > 0 {
		s.inherit(comers(e))
	}
	for id := range s.watched {
		if !slices.Contains(ready, id) {
			s.unwatch(id)
		}
	}
	for _, id := range ready {
		if _, known := s.watched[id]; !known {
			n.joined(e, id)
			n.watchReplica(e, id)
			n.looks.add(e, cause{}) // it may not have been enough
		}
	}
	switch {
	case len(ready) == 0:
		s.timer.Stop()
		n.budget.drop(e.id)
	default:
		n.budget.claim(e.id, s.limits, len(ready), a.spec, false)
	}
}

// beginScaling starts to watch. The caller holds e.mu.
func (n *Node) beginScaling(e *entry, ready []site.ReplicaID) {
	sp := e.active.spec
	s := &scaling{
		spec:   sp,
		scaler: detect.NewScaler(detect.Targets{Conns: float64(sp.Scale.Target.Conns), Latency: time.Duration(sp.Scale.Target.Latency)}, n.costs.typical()),
		limits: newLimits(sp.Limits, n.parent.Has),
		fired:  map[string]*api.Trigger{}, watched: map[site.ReplicaID][]io.Closer{}, bursting: map[site.ReplicaID]uint64{},
		outs: map[site.ReplicaID]uint64{}, begun: map[site.ReplicaID]uint64{},
	}
	for _, g := range groupsOf(e, ready[:1]) {
		s.limits = readLimits(g.Path(), s.limits)
	}
	s.timer = time.AfterFunc(lookBusy, func() { n.looks.add(e, cause{}) })
	e.active.scaling = s
	n.setTrigger(e, &detect.Signals{Replicas: replicasOf(e)})
	if why := lacking(sp.Limits, n.host, n.parent.Has); len(why) > 0 && !e.past().unscaled {
		e.past().unscaled = true
		for _, reason := range why {
			n.journalEvent(api.Event{Site: e.name, Kind: "not-scaled", Reason: reason})
		}
	}
}

// endScaling stops it. The caller holds e.mu.
func (n *Node) endScaling(e *entry) {
	n.budget.drop(e.id)
	n.removeTrigger(e) // of an earlier daemon, perhaps
	s := e.active.scaling
	if s == nil {
		return
	}
	s.timer.Stop()
	for id := range s.watched {
		s.unwatch(id)
	}
	e.active.scaling = nil
}

func (s *scaling) unwatch(id site.ReplicaID) {
	for _, w := range s.watched[id] {
		_ = w.Close() // its group may be gone
	}
	delete(s.watched, id)
	delete(s.bursting, id)
	delete(s.outs, id)
	delete(s.begun, id)
}

// watchReplica has the kernel tell of its pressure. The caller holds e.mu.
func (n *Node) watchReplica(e *entry, id site.ReplicaID) {
	s := e.active.scaling
	s.watched[id] = nil
	s.bursting[id] = bpf.Now()
	s.timer.Reset(lookBusy)
	r := e.active.replicas[id]
	if r == nil || r.ctr == nil {
		return
	}
	keep := func(w io.Closer, err error) {
		if err != nil {
			n.log.Debug("pressure on a replica is not told", "replica", r.name, "error", err)
			return
		}
		s.watched[id] = append(s.watched[id], w)
	}
	pressure := func(resource cgroup.Resource, stall time.Duration) {
		p, err := r.ctr.Group().Pressure(resource, stall, pressureWindow)
		if err != nil {
			keep(nil, err)
			return
		}
		w, err := n.watcher.Pressure(p, func() { n.looks.add(e, cause{kind: "pressure", what: string(resource) + " pressure", at: bpf.Now()}) })
		keep(w, err)
	}
	if s.limits.cpu.Max > 0 {
		pressure(cgroup.CPU, pressureCPU)
	}
	if len(s.limits.io) > 0 {
		pressure(cgroup.IO, pressureIO)
	}
	if s.limits.memory.Max > 0 {
		pressure(cgroup.Memory, pressureMemory)
		w, err := n.watcher.MemoryEvents(r.ctr.Group(), func(cgroup.MemoryEvents) {
			n.looks.add(e, cause{kind: "memory-events", what: "memory events", at: bpf.Now()})
		})
		keep(w, err)
	}
}

// look reads the site's signals and decides. It runs in the workers of the looks.
func (n *Node) look(e *entry, causes []cause) {
	why := first(causes)
	why.way.begun = bpf.Now()
	if why.at == 0 {
		n.refreshLoads()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	n.lookAt(e, causes, why)
}

// lookAt is that; why is the first cause. The caller holds e.mu.
func (n *Node) lookAt(e *entry, causes []cause, why cause) {
	why.way.locked = bpf.Now()
	a := e.active
	if a == nil || a.scaling == nil || n.stopped() {
		return
	}
	s := a.scaling
	ready := serving(e)
	if len(ready) == 0 {
		return
	}
	s.told(n, causes)
	now := n.samples(e, why)
	why.way.counted = bpf.Now()
	if len(now) == 0 {
		s.timer.Reset(lookBusy)
		return
	}
	s.meter.add(now, e.startedAt)
	n.settleBursts(e)
	s.alarm = n.alarms(e)
	s.count(now)
	sig := n.signals(e, now)
	next := n.decide(e, why, now, &sig)
	if e.active == nil || e.active.scaling != s {
		return // the decision has ended it
	}
	n.setTrigger(e, &sig)
	if next == 0 {
		next = lookBusy
		if s.calm(&sig) {
			next = lookCalm
		}
	}
	s.timer.Reset(next)
}

// calm says that nobody is there and nothing is left to give back.
func (s *scaling) calm(sig *detect.Signals) bool {
	for _, l := range s.limits.all() {
		if l.Now > l.Min*1.001 {
			return false
		}
	}
	var conns uint64
	for _, c := range sig.Conns {
		conns += c
	}
	return conns == 0 && sig.Replicas.Now <= max(1, sig.Replicas.Min)
}

// count feeds the arrivals to the estimate of what is normal.
func (s *scaling) count(now map[site.ReplicaID]sample) {
	var total, at uint64
	for _, v := range now {
		total += v.load.ConnsTotal
		at = max(at, v.counted)
	}
	if s.counted != 0 && total >= s.arrived && at > s.counted {
		s.normal.Observe(float64(total-s.arrived), time.Duration(at-s.counted), s.alarm != 0)
	}
	s.arrived, s.counted = total, at
}

// decide asks the scaler until it has nothing more to do. It returns when to look
// again; 0: as usual. The caller holds e.mu.
func (n *Node) decide(e *entry, why cause, now map[site.ReplicaID]sample, sig *detect.Signals) (again time.Duration) {
	s := e.active.scaling
	for range mostDecisions {
		n.budget.bound(e.id, &s.limits)
		s.limits.show(sig)
		d := s.scaler.Decide(time.Duration(bpf.Now()), *sig)
		switch d.Kind {
		case detect.Up:
			if s.lowering && d.Resource == detect.Memory {
				return lookAgain // the mark is about to move
			}
			if err := n.raise(e, d); err != nil {
				n.log.Error("cannot raise a limit", "site", e.name, "resource", d.Resource, "error", err)
				return 0
			}
			n.scaled(e, d, 0, why, bpf.Now())
			n.budget.claim(e.id, s.limits, len(serving(e)), e.active.spec, true)
			n.shareOut()
			s.meter.restart(now)
			forget(sig, d)
			again = lookAgain
		case detect.Down:
			if s.lowering && d.Resource == detect.Memory {
				return again
			}
			n.lower(e, d)
			return again
		case detect.Out, detect.In:
			n.resize(e, d, why)
			return again
		default:
			n.tellFull(e, d)
			if d.Again > 0 {
				again = d.Again
			}
			return again
		}
	}
	return again
}

// forget drops what was seen of a resource under the limit that it had.
func forget(sig *detect.Signals, d detect.Decision) {
	switch d.Resource {
	case detect.CPU:
		sig.CPU.Hits, sig.CPU.Used, sig.CPU.Stall = 0, 0, 0
	case detect.Memory:
		sig.Memory.Hits, sig.Memory.Stall = 0, 0
	case detect.Pids:
		sig.Pids.Hits = 0
	case detect.IO:
		for i := range sig.IO { // who waits for one rate waits for the disk
			sig.IO[i].Stall = 0
		}
		sig.IO[d.Part].Used = 0
	}
}

// tellFull says once why nothing is done though something is to be done.
func (n *Node) tellFull(e *entry, d detect.Decision) {
	s := e.active.scaling
	full := d.Reason != "" && d.Again == 0
	if full && s.full == "" {
		n.journalEvent(api.Event{Site: e.name, Kind: "full", Reason: d.Reason, Fields: evidence(d)})
	}
	s.full = ""
	if full {
		s.full = d.Reason
	}
}

// resize asks the site's machine for more or fewer replicas. The caller holds e.mu.
func (n *Node) resize(e *entry, d detect.Decision, why cause) {
	a, s := e.active, e.active.scaling
	before, from := comers(e), a.machine.Serving()
	asked := bpf.Now()
	n.handle(e, site.ScaleAsked{Want: d.Replicas, Reason: d.Reason})
	if e.active != a || a.scaling != s {
		return
	}
	if a.machine.Serving() == from {
		d.Kind, d.Reason = detect.None, d.Reason+", but starts have failed, and the next one is not tried yet"
		n.tellFull(e, d)
		return
	}
	n.scaled(e, d, from, why, asked)
	if d.Kind != detect.Out {
		return
	}
	for id := range comers(e) {
		if before[id] {
			continue
		}
		s.begun[id], s.outs[id] = asked, asked
		if why.at != 0 {
			s.outs[id] = why.at
		}
	}
}

// comers are the replicas that get new flows, or will. The caller holds e.mu.
func comers(e *entry) map[site.ReplicaID]bool {
	out := map[site.ReplicaID]bool{}
	for _, m := range e.active.machine.Replicas() {
		out[m.ID] = m.Serves()
	}
	return out
}

// settled are the replicas that have the site's limits: all but those that have come up
// just now and have those of a start. The first one's are the site's. The caller holds e.mu.
func settled(e *entry) []site.ReplicaID {
	s := e.active.scaling
	ready := serving(e)
	if len(ready) <= 1 {
		return ready
	}
	return slices.DeleteFunc(ready, func(id site.ReplicaID) bool { return s.bursting[id] != 0 })
}

// settleBursts gives replicas that have come up the limits that the others have. The
// caller holds e.mu.
func (n *Node) settleBursts(e *entry) {
	s := e.active.scaling
	var late []site.ReplicaID
	for id, since := range s.bursting {
		if time.Duration(bpf.Now()-since) >= lookBusy {
			late = append(late, id)
			delete(s.bursting, id)
		}
	}
	if len(late) == 0 || len(s.watched) == 1 {
		return
	}
	groups, now := groupsOf(e, late), s.limits.clone()
	n.work.Go(func() { // memory may have to be reclaimed
		set := func(name detect.ResourceName, part int) {
			l := now.of(name, part)
			if l.Max == 0 || l.Now >= l.Max {
				return
			}
			to := l.Now
			l.Now = l.Max // what they have: see setFollowed
			_, err := setLimit(groups, &now, name, part, to)
			l.Now = to
			if err != nil {
				n.log.Error("cannot set a limit", "site", e.name, "resource", name, "error", err)
			}
		}
		for _, name := range []detect.ResourceName{detect.CPU, detect.Memory, detect.Pids} {
			set(name, 0)
		}
		for part := range now.io {
			set(detect.IO, part)
		}
	})
}

// Circulate implements api.Backend. What sleeps of the site is thrown away: its
// next visitor is to find a fresh replica, too.
func (n *Node) Circulate(_ context.Context, name string) (api.Site, error) {
	e, err := n.byName(name)
	if err != nil {
		return api.Site{}, err
	}
	e.mu.Lock()
	if e.gone {
		e.mu.Unlock()
		return api.Site{}, notFound(name)
	}
	n.dropSleep(e, "circulated")
	asleep := e.active == nil
	if !asleep {
		n.handle(e, site.CirculateAsked{Reason: "asked for by a user"})
	}
	e.mu.Unlock()
	v := n.view(e)
	if asleep {
		return v, &api.Error{
			Code: api.CodeUnavailable, Message: fmt.Sprintf("site %q has nothing to replace: it is parked", name),
			Hint: "its next visitor gets a fresh replica; fcnode wake " + name + " starts one now",
		}
	}
	return v, nil
}
