package node

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

type timerKind uint8

const (
	timerStart timerKind = iota
	timerSettle
	timerIdle
	timerLife
	timerDrain
	timerSpare
	timerBackoff
	timerProof
)

type timerKey struct {
	kind timerKind
	id   site.ReplicaID
}

// send hands an event to a site. Sites that were deleted meanwhile, and sites
// that sleep and cannot know what the event is about, pass it over.
func (n *Node) send(e *entry, ev site.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone || e.active == nil {
		return
	}
	n.handle(e, ev)
}

// wakeUp does so too, but makes the machine of a parked site first.
func (n *Node) wakeUp(e *entry, ev site.Event, t *wakeTrace) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone {
		return notFound(e.name)
	}
	if e.active == nil {
		if err := n.activate(e); err != nil {
			return err
		}
	}
	e.active.trace = t
	n.handle(e, ev)
	if e.active != nil {
		e.active.trace = nil // if it started nothing, it is not the story of a wake
	}
	return nil
}

// activate gives a parked site its machine. The caller holds e.mu.
func (n *Node) activate(e *entry) error {
	s, err := n.store.Get(e.name)
	if err != nil {
		return err
	}
	n.awake.become(e, &active{
		spec:     &s.Spec,
		machine:  site.New(n.policy(e, &s.Spec), n.newReplicaID),
		replicas: map[site.ReplicaID]*replica{},
		timers:   map[timerKey]*time.Timer{},
		changed:  make(chan struct{}),
	})
	n.recall(e)
	return nil
}

// handle runs the machine and carries out its actions in order; some of them
// make further events. The caller holds e.mu.
func (n *Node) handle(e *entry, ev site.Event) {
	queue := []site.Event{ev}
	for len(queue) > 0 {
		ev := queue[0]
		queue = queue[1:]
		for _, act := range e.active.machine.Handle(time.Now(), ev) {
			if next := n.perform(e, act); next != nil {
				queue = append(queue, next)
			}
		}
	}
	n.followScaling(e)
	e.active.notify()
	n.settle(e)
}

// settle lets go of what a parked site does not need. The caller holds e.mu.
func (n *Node) settle(e *entry) {
	a := e.active
	if !a.machine.Settled() || len(a.replicas) > 0 {
		return
	}
	for _, t := range a.timers {
		t.Stop()
	}
	n.endScaling(e)
	n.awake.become(e, nil)
}

// perform carries out one action; what it returns is the machine's next event.
// The caller holds e.mu.
func (n *Node) perform(e *entry, act site.Action) site.Event {
	switch act := act.(type) {
	case site.Start:
		n.beginStart(e, act)
	case site.Stop:
		n.beginStop(e, act)
	case site.Publish:
		n.publish(e)
	case site.Release:
		n.release(e)
	case site.Refuse:
		n.refuse(e.id)
	case site.Recheck:
		conns, idle := n.activity(e, act.ID)
		return site.Rechecked{ID: act.ID, Conns: conns, IdleFor: idle}
	case site.Watch:
		return n.watchEmpty(act.ID)
	case site.Note:
		n.note(e, act)
	case site.Forget:
		e.gone = true
	default:
		if !n.performSleep(e, act) {
			n.performTimer(e, act)
		}
	}
	return nil
}

// performSleep carries out what has to do with sleeping replicas; all of it is
// answered later. The caller holds e.mu.
func (n *Node) performSleep(e *entry, act site.Action) bool {
	switch act := act.(type) {
	case site.Descend:
		n.descend(e, act.ID, act.Tier)
	case site.Ascend:
		n.ascend(e, act.ID)
	case site.Prepare:
		n.prepare(e, act.ID)
	case site.Unprepare:
		n.unprepare(e, act.ID)
	default:
		return false
	}
	return true
}

// performTimer sets the timers. The caller holds e.mu.
func (n *Node) performTimer(e *entry, act site.Action) {
	switch act := act.(type) {
	case site.ArmStart:
		n.armStart(e, act.ID, act.After)
	case site.ArmSettle:
		n.arm(e, timerKey{timerSettle, act.ID}, act.After, func() site.Event { return site.SettleOver{ID: act.ID} })
	case site.ArmIdle:
		n.arm(e, timerKey{timerIdle, act.ID}, act.After, func() site.Event {
			conns, idle := n.activity(e, act.ID)
			return site.IdleOver{ID: act.ID, Conns: conns, IdleFor: idle}
		})
	case site.ArmLife:
		n.arm(e, timerKey{timerLife, act.ID}, jittered(act.After, e.active.spec), func() site.Event { return site.LifeOver{ID: act.ID} })
	case site.ArmDrain:
		n.arm(e, timerKey{timerDrain, act.ID}, act.After, func() site.Event { return site.DrainOver{ID: act.ID} })
	case site.ArmSpare:
		n.armSpare(e, act.After, time.Now().Add(act.After+spareWaits))
	case site.ArmBackoff:
		e.active.retry = time.Now().Add(act.After)
		n.arm(e, timerKey{kind: timerBackoff}, act.After, func() site.Event { return site.BackoffOver{} })
	}
}

// jittered spreads the ends of replicas that were started together.
func jittered(after time.Duration, s *spec.Site) time.Duration {
	spread := float64(s.Lifetime.Jitter) / 100 * float64(after)
	return after + time.Duration((2*rand.Float64()-1)*spread) //nolint:gosec // nothing secret about it
}

// watchEmpty asks the data path to tell when a replica's last connection has
// ended.
func (n *Node) watchEmpty(id site.ReplicaID) site.Event {
	conns, err := n.dp.WatchEmpty(bpf.ReplicaID(id), true)
	if err != nil {
		n.log.Error("the end of a draining replica's connections is not seen; it has its whole time", "replica", id, "error", err)
		return nil
	}
	if conns == 0 {
		return site.Emptied{ID: id}
	}
	return nil
}

// arm sets a timer in the place of one of the same key. The event is made
// under the site's lock when it fires. The caller holds e.mu.
func (n *Node) arm(e *entry, key timerKey, after time.Duration, event func() site.Event) {
	a := e.active
	if old := a.timers[key]; old != nil {
		old.Stop()
	}
	var t *time.Timer
	t = time.AfterFunc(after, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		// a timer that was replaced, or whose site went to sleep, is stale
		if e.active != a || a.timers[key] != t || n.stopped() {
			return
		}
		delete(a.timers, key)
		if ev := event(); ev != nil {
			n.handle(e, ev)
		}
	})
	a.timers[key] = t
}

// publish writes the machine's view to the data path. The caller holds e.mu.
func (n *Node) publish(e *entry) {
	v := e.active.machine.View()
	var err error
	if v.Parked {
		// What the kernel counted as held and the holder had no room for is in
		// nobody's hands: left standing it could keep the site from ever waking.
		err = errors.Join(n.dp.ParkSite(e.id), n.dp.ClearHold(e.id))
	} else {
		s := bpf.Site{Refuse: v.Refuse}
		for _, r := range v.Replicas {
			if own := e.active.replicas[r.ID]; own != nil && own.restoring {
				continue
			}
			in := bpf.SiteReplica{ID: bpf.ReplicaID(r.ID), Draining: r.Draining}
			if r.Forced {
				in.Forced = bpf.AllPorts(len(e.ports))
			}
			s.Replicas = append(s.Replicas, in)
		}
		// Marked before anybody can be sent there for the first time, and unmarked
		// only when packets are to be nobody's business any more.
		err = errors.Join(n.mark(e, v), n.dp.SetSite(e.id, s))
	}
	if err != nil {
		n.log.Error("cannot tell the data path about a site; its visitors wait until the next change", "site", e.name, "error", err)
	}
}

// mark tells the data path which replicas sleep, so that the first packet to
// one of them is told. The caller holds e.mu.
func (n *Node) mark(e *entry, v site.View) error {
	var errs []error
	for _, view := range v.Replicas {
		r := e.active.replicas[view.ID]
		if r == nil || r.asleep == view.Asleep {
			continue
		}
		if err := n.dp.SetAsleep(bpf.ReplicaID(r.id), view.Asleep); err != nil {
			errs = append(errs, err)
			continue
		}
		r.asleep = view.Asleep
	}
	return errors.Join(errs...)
}

// release puts held packets whose port is listened on back on the wire. The
// caller holds e.mu.
func (n *Node) release(e *entry) {
	var mask4, mask6 uint32
	v := e.active.machine.View()
	for _, r := range v.Replicas {
		if r.Draining {
			continue
		}
		if r.Forced {
			mask4, mask6 = ^uint32(0), ^uint32(0)
		}
		st, err := n.dp.Stats(bpf.ReplicaID(r.ID))
		if err != nil {
			continue // it is gone, or not in the data path yet: nothing listens there
		}
		mask4 |= st.Ready4
		mask6 |= st.Ready6
	}
	ready := func(vip netip.AddrPort, proto bpf.Proto) bool {
		mask := mask4
		if vip.Addr().Is6() {
			mask = mask6
		}
		for i, port := range e.ports {
			if port.Port == vip.Port() && protoOf(port) == proto {
				return mask&(1<<i) != 0
			}
		}
		return true // not ours any more: the data path refuses it
	}
	now := bpf.Now()
	released, _, err := n.holder.ReleaseIf(e.id, ready)
	if err != nil {
		n.log.Warn("a held packet could not be put back; its client will repeat it", "site", e.name, "error", err)
	}
	if released == 0 {
		return
	}
	for _, r := range e.active.replicas {
		if r.trace != nil {
			r.trace.mark(api.StepReleased, now)
		}
	}
	if err := n.dp.ClearHold(e.id); err != nil {
		n.log.Error("cannot reset the count of held packets", "site", e.name, "error", err)
	}
}

// refuse answers those who are held with a RST (or port unreachable).
func (n *Node) refuse(id bpf.SiteID) {
	if _, err := n.holder.Refuse(id); err != nil {
		n.log.Warn("a held client could not be refused; it will find out at its next try", "site", id, "error", err)
	}
	if err := n.dp.ClearHold(id); err != nil {
		n.log.Error("cannot reset the count of held packets", "site", id, "error", err)
	}
}

// activity reads a replica's counters: connections (and exec sessions) now, and
// the time since the last of them ended (or since it was started).
func (n *Node) activity(e *entry, id site.ReplicaID) (conns uint64, idle time.Duration) {
	r := e.active.replicas[id]
	st, err := n.dp.Stats(bpf.ReplicaID(id))
	if err != nil || r == nil {
		return 0, time.Duration(1<<63 - 1) // nothing there to keep awake
	}
	idle = time.Since(r.started)
	if st.Last > 0 {
		idle = time.Duration(bpf.Now() - st.Last)
	}
	e.came(r, st.ConnsTotal)
	return st.ConnsNow + uint64(r.execs), idle
}

// note tells people. The caller holds e.mu.
func (n *Node) note(e *entry, note site.Note) {
	now := time.Now()
	h := e.past()
	h.decision = &api.Decision{Time: now, Action: note.Kind, Reason: note.Reason}
	ev := api.Event{Time: now, Site: e.name, Kind: note.Kind, Reason: note.Reason, Text: note.Detail}
	if note.Replica != 0 {
		ev.Replica = replicaName(e.name, note.Replica)
	}
	switch {
	case note.Failure:
		h.failure = &api.SiteError{Time: now, Message: note.Reason}
		if note.Kind == "failed" {
			h.failure.Retry = e.active.retry
			h.failed = true
			n.failTrace(e, note.Reason)
		}
	case note.Kind == "running":
		h.failure, h.failed = nil, false
	case site.Tier(note.Kind).Depth() > 0, note.Kind == "parked":
		h.idle = now
	}
	n.journalEvent(ev)
}
