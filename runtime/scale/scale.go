package scale

import (
	"io"
	"slices"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	surge "github.com/fcnode/fcnode/detect/change"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// How often a site is evaluated though nothing tells of it. The kernel tells what
// matters; the evaluations see what has ended, and that it stays so.
const (
	evaluateBusy  = time.Second
	evaluateCalm  = 15 * time.Second       // nobody is there, and there is nothing to give back
	evaluateAgain = 200 * time.Millisecond // after a raise: has it been enough?
	// After a decision the next is taken at once: a few are enough for all limits.
	mostDecisions = 8
)

// PSI triggers: waiting for so much of a window is worth an evaluation.
const (
	pressureWindow = time.Second
	pressureCPU    = 200 * time.Millisecond
	pressureMemory = 100 * time.Millisecond
	pressureIO     = 200 * time.Millisecond
)

// State is what is known of a site that can be scaled, while it is awake. It is
// guarded by its entry's mu.
type State struct {
	spec    *spec.Site // that it was made of
	scaler  *detect.Scaler
	Limits  Limits
	meter   Meter
	normal  surge.Normal
	arrived uint64 // connections that it has counted
	counted uint64 // when

	alarm   surge.Alarm
	trigger bpf.Trigger // that the kernel has
	Fired   map[string]*Trigger

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

// Follow brings what watches a site in line with its replicas. It is called
// after each event of the site's machine.
func (g *Engine) Follow(l Site) {
	if s := l.Scaling(); s != nil && s.spec != l.Spec {
		g.End(l)
	}
	if l.Scaling() == nil && !scalable(l.Spec) {
		return
	}
	ready := serving(l)
	if l.Scaling() == nil {
		if len(ready) == 0 {
			return
		}
		g.begin(l, ready)
	}
	s, ref := l.Scaling(), l.Ref
	if len(s.outs) > 0 {
		s.inherit(comers(l))
	}
	for id := range s.watched {
		if !slices.Contains(ready, id) {
			s.unwatch(id)
		}
	}
	for _, id := range ready {
		if _, known := s.watched[id]; !known {
			g.joined(l, id)
			g.watchReplica(l, id)
			g.queue.add(ref, Cause{}) // it may not have been enough
		}
	}
	switch {
	case len(ready) == 0:
		s.timer.Stop()
		g.budget.drop(ref.ID())
	default:
		g.budget.claim(ref.ID(), s.Limits, len(ready), l.Spec, false)
	}
}

// begin starts to watch.
func (g *Engine) begin(l Site, ready []site.ReplicaID) {
	sp, ref := l.Spec, l.Ref
	s := &State{
		spec:   sp,
		scaler: detect.NewScaler(detect.Targets{Conns: float64(sp.Scale.Target.Conns), Latency: time.Duration(sp.Scale.Target.Latency)}, g.costs.typical()),
		Limits: NewLimits(sp.Limits, g.Has),
		Fired:  map[string]*Trigger{}, watched: map[site.ReplicaID][]io.Closer{}, bursting: map[site.ReplicaID]uint64{},
		outs: map[site.ReplicaID]uint64{}, begun: map[site.ReplicaID]uint64{},
	}
	for _, group := range groupsOf(l, ready[:1]) {
		s.Limits = readLimits(group.Path(), s.Limits)
	}
	s.timer = time.AfterFunc(evaluateBusy, func() { g.queue.add(ref, Cause{}) })
	*l.Kept = s
	g.setTrigger(l, &detect.Signals{Replicas: replicasOf(l)})
	for _, why := range Lacking(sp.Limits, g.Cgroups, g.Has) {
		l.Tell(event.Event{Kind: event.NotScaled, Reason: why})
	}
}

// End stops it.
func (g *Engine) End(l Site) {
	g.budget.drop(l.Ref.ID())
	g.removeTrigger(l) // of an earlier daemon, perhaps
	s := l.Scaling()
	if s == nil {
		return
	}
	s.timer.Stop()
	for id := range s.watched {
		s.unwatch(id)
	}
	*l.Kept = nil
}

func (s *State) unwatch(id site.ReplicaID) {
	for _, w := range s.watched[id] {
		_ = w.Close() // its group may be gone
	}
	delete(s.watched, id)
	delete(s.bursting, id)
	delete(s.outs, id)
	delete(s.begun, id)
}

// watchReplica has the kernel tell of its pressure.
func (g *Engine) watchReplica(l Site, id site.ReplicaID) {
	s := l.Scaling()
	s.watched[id] = nil
	s.bursting[id] = bpf.Now()
	s.timer.Reset(evaluateBusy)
	r, _ := find(l, id)
	ref := l.Ref
	group, ok := r.Group.(*cgroup.Group)
	if !ok {
		return
	}
	keep := func(w io.Closer, err error) {
		if err != nil {
			g.Log.Debug("pressure on a replica is not told", "site", ref.Name(), "id", id, "error", err)
			return
		}
		s.watched[id] = append(s.watched[id], w)
	}
	pressure := func(resource cgroup.Resource, stall time.Duration) {
		p, err := group.Pressure(resource, stall, pressureWindow)
		if err != nil {
			keep(nil, err)
			return
		}
		w, err := g.Watcher.Pressure(p, func() { g.queue.add(ref, Cause{kind: "pressure", what: string(resource) + " pressure", at: bpf.Now()}) })
		keep(w, err)
	}
	if s.Limits.CPU.Max > 0 {
		pressure(cgroup.CPU, pressureCPU)
	}
	if len(s.Limits.IO) > 0 {
		pressure(cgroup.IO, pressureIO)
	}
	if s.Limits.Memory.Max > 0 {
		pressure(cgroup.Memory, pressureMemory)
		w, err := g.Watcher.MemoryEvents(group, func(cgroup.MemoryEvents) {
			g.queue.add(ref, Cause{kind: "memory-events", what: "memory events", at: bpf.Now()})
		})
		keep(w, err)
	}
}

// evaluate reads the site's signals and decides. It runs in the workers.
func (g *Engine) evaluate(ref Ref, causes []Cause) {
	why := earliest(causes)
	why.way.begun = bpf.Now()
	if why.at == 0 {
		g.RefreshLoads()
	}
	ref.WithScaled(func(l Site) { g.evaluateLocked(l, causes, why) })
}

// evaluateLocked is that; why is the first cause.
func (g *Engine) evaluateLocked(l Site, causes []Cause, why Cause) {
	why.way.locked = bpf.Now()
	s := l.Scaling()
	if s == nil || g.Stopped() {
		return
	}
	ready := serving(l)
	if len(ready) == 0 {
		return
	}
	s.told(g, causes)
	now := g.Samples(l, why)
	why.way.counted = bpf.Now()
	if len(now) == 0 {
		s.timer.Reset(evaluateBusy)
		return
	}
	s.meter.Add(now, func(id site.ReplicaID) uint64 { return StartedAt(l, id) })
	g.endBursts(l)
	s.alarm = g.alarms(l)
	s.count(now)
	sig := g.signals(l, now)
	next := g.decide(l, why, now, &sig)
	if l.Scaling() != s {
		return // the decision has ended it
	}
	g.setTrigger(l, &sig)
	if next == 0 {
		next = evaluateBusy
		if s.calm(&sig) {
			next = evaluateCalm
		}
	}
	s.timer.Reset(next)
}

// calm says that nobody is there and nothing is left to give back.
func (s *State) calm(sig *detect.Signals) bool {
	for _, l := range s.Limits.all() {
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
func (s *State) count(now map[site.ReplicaID]Sample) {
	var total, at uint64
	for _, v := range now {
		total += v.Load.ConnsTotal
		at = max(at, v.Counted)
	}
	if s.counted != 0 && total >= s.arrived && at > s.counted {
		s.normal.Observe(float64(total-s.arrived), time.Duration(at-s.counted), s.alarm != 0)
	}
	s.arrived, s.counted = total, at
}

// decide asks the scaler until it has nothing more to do. It returns when to evaluate the site
// again; 0: as usual.
func (g *Engine) decide(l Site, why Cause, now map[site.ReplicaID]Sample, sig *detect.Signals) (again time.Duration) {
	s := l.Scaling()
	for range mostDecisions {
		g.budget.bound(l.Ref.ID(), &s.Limits)
		s.Limits.show(sig)
		d := s.scaler.Decide(time.Duration(bpf.Now()), *sig)
		switch d.Kind {
		case detect.Up:
			if s.lowering && d.Resource == detect.Memory {
				return evaluateAgain // the mark is about to move
			}
			if err := g.raise(l, d); err != nil {
				g.Log.Error("cannot raise a limit", "site", l.Ref.Name(), "resource", d.Resource, "error", err)
				return 0
			}
			g.scaled(l, d, 0, why, bpf.Now())
			g.budget.claim(l.Ref.ID(), s.Limits, len(serving(l)), l.Spec, true)
			g.shareOut()
			s.meter.restart(now)
			unsee(sig, d)
			again = evaluateAgain
		case detect.Down:
			if s.lowering && d.Resource == detect.Memory {
				return again
			}
			g.lower(l, d)
			return again
		case detect.Out, detect.In:
			g.resize(l, d, why)
			return again
		default:
			g.tellFull(l, d)
			if d.Again > 0 {
				again = d.Again
			}
			return again
		}
	}
	return again
}

// unsee drops what was seen of a resource under the limit that it had.
func unsee(sig *detect.Signals, d detect.Decision) {
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
func (g *Engine) tellFull(l Site, d detect.Decision) {
	s := l.Scaling()
	full := d.Reason != "" && d.Again == 0
	if full && s.full == "" {
		l.Tell(event.Event{Kind: event.Full, Reason: d.Reason, Fields: evidence(d)})
	}
	s.full = ""
	if full {
		s.full = d.Reason
	}
}

// resize asks the site's machine for more or fewer replicas.
func (g *Engine) resize(l Site, d detect.Decision, why Cause) {
	s := l.Scaling()
	before, from := comers(l), l.Set().Serving
	asked := bpf.Now()
	l.Ask(site.ScaleAsked{Want: d.Replicas, Reason: d.Reason})
	if l.Scaling() != s {
		return
	}
	if l.Set().Serving == from {
		d.Kind, d.Reason = detect.None, d.Reason+", but starts have failed, and the next one is not tried yet"
		g.tellFull(l, d)
		return
	}
	g.scaled(l, d, from, why, asked)
	if d.Kind != detect.Out {
		return
	}
	for id := range comers(l) {
		if before[id] {
			continue
		}
		s.begun[id], s.outs[id] = asked, asked
		if why.at != 0 {
			s.outs[id] = why.at
		}
	}
}

// comers are the replicas that get new flows, or will.
func comers(l Site) map[site.ReplicaID]bool {
	out := map[site.ReplicaID]bool{}
	for _, m := range l.Set().Replicas {
		out[m.ID] = m.Serves
	}
	return out
}

// unburst are the replicas that have the site's limits: all but those that have come up
// just now and have those of a start. The first one's are the site's.
func unburst(l Site) []site.ReplicaID {
	s := l.Scaling()
	ready := serving(l)
	if len(ready) <= 1 {
		return ready
	}
	return slices.DeleteFunc(ready, func(id site.ReplicaID) bool { return s.bursting[id] != 0 })
}

// endBursts gives replicas that have come up the limits that the others have.
func (g *Engine) endBursts(l Site) {
	s := l.Scaling()
	var late []site.ReplicaID
	for id, since := range s.bursting {
		if time.Duration(bpf.Now()-since) >= evaluateBusy {
			late = append(late, id)
			delete(s.bursting, id)
		}
	}
	if len(late) == 0 || len(s.watched) == 1 {
		return
	}
	groups, now, ref := groupsOf(l, late), s.Limits.clone(), l.Ref
	g.Go(func() { // memory may have to be reclaimed
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
				g.Log.Error("cannot set a limit", "site", ref.Name(), "resource", name, "error", err)
			}
		}
		for _, name := range []detect.ResourceName{detect.CPU, detect.Memory, detect.Pids} {
			set(name, 0)
		}
		for part := range now.IO {
			set(detect.IO, part)
		}
	})
}
