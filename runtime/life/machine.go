package life

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

type timerKind uint8

const (
	timerStart timerKind = iota
	timerPortGrace
	timerPorts
	timerIdle
	timerLife
	timerDrain
	timerSpare
	timerBackoff
	timerProof
	timerHealth
	timerWork
	timerConns
	timerFlows
)

type timerKey struct {
	kind timerKind
	id   site.ReplicaID
}

// Send hands an event to a site. Sites that were deleted meanwhile, and sites
// that sleep and cannot know what the event is about, pass it over.
func (st *Site) Send(ev site.Event) {
	st.With(func(l *Live) {
		if !l.gone && l.Activity != nil {
			l.handle(ev)
		}
	})
}

// Wake is for who is no visitor.
func (st *Site) Wake(reason string) error {
	return st.WakeUp(site.WakeAsked{Reason: reason}, st.newTrace(st.Host.Now(), event.StepAsked))
}

// WakeUp does so too, but makes the machine of a parked site first.
func (st *Site) WakeUp(ev site.Event, t *wakeTrace) error {
	return withMachine(st, func(l *Live) error {
		l.wakeUp(ev, t)
		return nil
	})
}

func (l *Live) wakeUp(ev site.Event, t *wakeTrace) {
	l.trace = t
	l.handle(ev)
	if l.Activity != nil {
		if t != nil && l.trace == nil && !t.byHand() {
			l.Host.Ahead.woke(l)
		}
		l.trace = nil // if it started nothing, it is not the story of a wake
	}
}

// handle runs the machine and carries out its actions in order; some of them
// make further events.
func (l *Live) handle(ev site.Event) {
	if l.Activity == nil {
		return // quarantined while this was on its way
	}
	queue := l.outdated(ev)
	for len(queue) > 0 {
		ev := queue[0]
		queue = queue[1:]
		for _, act := range l.Machine.Handle(time.Now(), ev) {
			if next := l.perform(act); next != nil {
				queue = append(queue, next)
			}
		}
	}
	l.followHealth()
	l.Host.Scale.Follow(l.Scaled())
	l.notify()
	l.endIdle()
}

// endIdle lets go of what a parked site does not need.
func (l *Live) endIdle() {
	a := l.Activity
	if !a.Machine.Idle() || len(a.Replicas) > 0 {
		return
	}
	l.end()
}

// end makes the site a parked one.
func (l *Live) end() {
	l.stopTimers()
	l.Host.Scale.End(l.Scaled())
	l.notify()
	l.become(nil)
}

func (a *Activity) stopTimers() {
	for _, t := range a.timers {
		t.Stop()
	}
}

// perform carries out one action; what it returns is the machine's next event.
func (l *Live) perform(act site.Action) site.Event {
	switch act := act.(type) {
	case site.Start:
		wakeNeeded(l)
		l.beginStart(act)
	case site.Stop:
		l.beginStop(act)
	case site.Publish:
		l.publish()
	case site.Release:
		l.release()
	case site.Refuse:
		l.Host.refuse(l.ID)
	case site.Recheck:
		u := l.Use(act.ID)
		return site.Rechecked{ID: act.ID, Conns: u.Conns, Flows: u.Flows, IdleFor: u.Idle, Arrived: u.Arrived}
	case site.Watch:
		return watchEmpty(l, act.ID)
	case site.Note:
		l.note(act)
	case site.Gone:
		l.gone = true
	case site.Descend:
		l.descend(act.ID, act.Tier)
	case site.Ascend:
		wakeNeeded(l)
		l.ascend(act.ID)
	case site.Prepare:
		l.prepare(act.ID)
	case site.Unprepare:
		if r := l.Replicas[act.ID]; r != nil && r.gate != nil {
			r.gate.drop()
			r.cancel()
		}
	case site.ArmStart:
		l.armStart(act.ID, act.After)
	case site.ArmPortGrace:
		l.arm(timerKey{timerPortGrace, act.ID}, act.After, func() site.Event { return site.PortGraceOver{ID: act.ID} })
	case site.ArmIdle:
		l.armIdle(act.ID, act.After)
	case site.ArmConns:
		l.arm(timerKey{timerConns, act.ID}, act.After, func() site.Event {
			countOwn(l.Site, l.Replicas[act.ID], func(l *Live, n int) { l.handle(site.ConnsHeld{ID: act.ID, Own: n}) })
			return nil
		})
	case site.ArmLife:
		l.arm(timerKey{timerLife, act.ID}, jittered(act.After, l.Spec), func() site.Event { return site.LifeOver{ID: act.ID} })
	case site.ArmDrain:
		l.arm(timerKey{timerDrain, act.ID}, act.After, func() site.Event { return site.DrainOver{ID: act.ID} })
	case site.ArmSpare:
		l.armSpare(act.After, time.Now().Add(act.After+spareWaits))
	case site.ArmBackoff:
		l.retry = time.Now().Add(act.After)
		l.arm(timerKey{kind: timerBackoff}, act.After, func() site.Event { return site.BackoffOver{} })
	}
	return nil
}

// jittered spreads the ends of replicas that were started together.
func jittered(after time.Duration, s *spec.Site) time.Duration {
	spread := float64(s.Lifetime.Jitter) / 100 * float64(after)
	return after + time.Duration((2*rand.Float64()-1)*spread) //nolint:gosec // nothing secret about it
}

// arm sets a timer in the place of one of the same key. The event is made
// under the site's lock when it fires.
func (l *Live) arm(key timerKey, after time.Duration, event func() site.Event) {
	a := l.Activity
	if a == nil {
		return
	}
	if old := a.timers[key]; old != nil {
		old.Stop()
	}
	var t *time.Timer
	st := l.Site
	ring := func(l *Live) {
		// a timer that was replaced, or whose site went to sleep, is stale
		if l.Activity != a || a.timers[key] != t || l.Host.Stopped() {
			return
		}
		delete(a.timers, key)
		if ev := event(); ev != nil {
			l.handle(ev)
		}
	}
	t = time.AfterFunc(after, func() {
		st.Host.Guard(st, func() { st.With(ring) })
	})
	a.timers[key] = t
}

// publish writes the machine's view to the data path.
func (l *Live) publish() {
	if l.Activity == nil {
		return
	}
	v := l.Machine.View()
	var err error
	if v.Parked {
		// What the kernel counted as held and the holder had no room for is in
		// nobody's hands: left standing it could keep the site from ever waking.
		err = errors.Join(l.Host.Data.ParkSite(l.ID), l.Host.Data.ClearHold(l.ID))
	} else {
		s := bpf.Site{Refuse: v.Refuse, Sleeps: len(v.Replicas) > 0}
		for _, r := range v.Replicas {
			s.Sleeps = s.Sleeps && r.Asleep
			own := l.Replicas[r.ID]
			if own != nil && own.restoring {
				continue
			}
			in := bpf.SiteReplica{ID: bpf.ReplicaID(r.ID), Draining: r.Draining}
			if r.Asleep && own != nil && len(own.sources) > 0 {
				in.Draining = true // until they are compared
			}
			if r.Forced {
				in.Forced = bpf.AllPorts(len(l.Ports))
			}
			s.Replicas = append(s.Replicas, in)
		}
		// Marked before anybody can be sent there for the first time, and unmarked
		// only when packets are to be nobody's business any more.
		err = errors.Join(l.mark(l.Host.Data, v), l.Host.Data.SetSite(l.ID, s))
	}
	if err != nil {
		l.Host.Log.Error("cannot tell the data path about a site; its visitors wait until the next change", "site", l.Name, "error", err)
	}
}

// mark tells the data path which replicas sleep, so that the first packet to
// one of them is told.
func (a *Activity) mark(data DataPath, v site.View) error {
	var errs []error
	for _, view := range v.Replicas {
		r := a.Replicas[view.ID]
		if r == nil || r.asleep == view.Asleep {
			continue
		}
		if err := data.SetAsleep(bpf.ReplicaID(r.ID), view.Asleep); err != nil {
			errs = append(errs, err)
			continue
		}
		r.asleep = view.Asleep
	}
	return errors.Join(errs...)
}

// release puts held packets whose port is listened on back on the wire.
func (l *Live) release() {
	ready := listened(l)
	// Who has ended a handshake that the data path began meets a listener that has
	// sent no cookie, and is refused by it unless it expects some.
	expected := map[netip.AddrPort]bool{}
	now := l.Host.Now()
	released := 0
	for {
		var expect []netip.AddrPort
		n, _, err := l.Host.Holder.ReleaseIf(l.ID, func(vip netip.AddrPort, proto bpf.Proto, proven bool) bool {
			replicas := ready(vip, proto)
			if proven && len(replicas) > 0 && !expected[vip] {
				expect = append(expect, vip)
				return false
			}
			return replicas != nil
		})
		if err != nil {
			l.Host.Log.Warn("a held packet could not be put back; its client will repeat it", "site", l.Name, "error", err)
		}
		released += n
		if len(expect) == 0 {
			break
		}
		for _, vip := range expect {
			if !expected[vip] {
				expected[vip] = true
				expectCookies(l, vip, ready(vip, bpf.TCP))
			}
		}
	}
	if released == 0 && l.Host.Holder.Holds(l.ID) {
		return
	}
	for _, r := range l.Replicas {
		if r.trace != nil && released > 0 {
			r.trace.mark(event.StepReleased, now)
		}
	}
	// Also what the kernel counted and the holder had no room for: left standing it
	// could keep the site from ever waking.
	if err := l.Host.Data.ClearHold(l.ID); err != nil {
		l.Host.Log.Error("cannot reset the count of held packets", "site", l.Name, "error", err)
	}
}

// listened returns a function that tells which replicas listen at an address: nil, no
// one does yet; none, nobody ever will.
func listened(l *Live) func(vip netip.AddrPort, proto bpf.Proto) []*Replica {
	type listener struct {
		*Replica
		id             bpf.ReplicaID
		ready4, ready6 uint32
		forced         bool
	}
	var all []listener
	for _, r := range l.Machine.View().Replicas {
		own := l.Replicas[r.ID]
		if r.Draining || own != nil && own.closed {
			continue
		}
		at := listener{Replica: own, id: bpf.ReplicaID(r.ID), forced: r.Forced}
		if st, err := l.Host.Data.Stats(bpf.ReplicaID(r.ID)); err == nil { // else it is gone, or not in the data path yet
			at.ready4, at.ready6 = st.Ready4, st.Ready6
		}
		if r.Forced {
			at.ready4, at.ready6 = ^uint32(0), ^uint32(0)
		}
		all = append(all, at)
	}
	return func(vip netip.AddrPort, proto bpf.Proto) (replicas []*Replica) {
		i := slices.IndexFunc(l.Ports, func(p spec.Port) bool { return p.Has(vip.Port(), proto.String()) })
		if i < 0 {
			return []*Replica{} // not ours any more: the data path refuses it
		}
		for _, r := range all {
			mask := r.ready4
			if vip.Addr().Is6() {
				mask = r.ready6
			}
			if mask&(1<<i) != 0 && (!l.Ports[i].IsRange() || r.forced || listensOn(l, r.id, vip, proto)) {
				replicas = append(replicas, r.Replica)
			}
		}
		return replicas
	}
}

// listensOn is for a port of a range.
func listensOn(l *Live, id bpf.ReplicaID, vip netip.AddrPort, proto bpf.Proto) bool {
	on, err := l.Host.Data.Listens(id, bpf.Listener{Addr: vip.Addr(), Port: vip.Port(), Proto: proto})
	if err != nil {
		l.Host.Log.Error("visitors of a port wait until its time of grace is over", "site", l.Name, "port", vip.Port(), "error", err)
	}
	return on
}

// expectCookies has the listeners of replicas take the ends of handshakes that the data
// path has begun. Where one does not it refuses those visitors.
func expectCookies(l *Live, vip netip.AddrPort, replicas []*Replica) {
	for _, r := range replicas {
		if r == nil || r.ns == nil {
			continue
		}
		if err := r.ns.ExpectCookies(vip); err != nil {
			l.Host.Log.Warn("visitors that have proven their address may be refused; they come again", "site", l.Name, "replica", r.Name, "error", err)
		}
	}
}

// Use is how much a replica is used.
type Use struct {
	Conns   uint64        // connections that have carried data, and exec sessions
	Flows   uint64        // of UDP, that last
	Idle    time.Duration // since the last of them ended (or since it was started)
	Arrived time.Duration // since somebody came who has not used it yet; 0: nobody has
}

// Use reads a replica's counters.
func (l *Live) Use(id site.ReplicaID) Use {
	r := l.Replicas[id]
	st, err := l.Host.Data.Stats(bpf.ReplicaID(id))
	if err != nil || r == nil {
		return Use{Idle: time.Duration(1<<63 - 1)} // nothing there to keep awake
	}
	now := l.Host.Now()
	u := Use{Conns: st.ConnsUsed + uint64(r.execs), Idle: time.Since(r.Started)}
	switch {
	case st.Used > 0:
		u.Idle = time.Duration(now - min(st.Used, now))
	case r.unasked && st.Last > 0:
		u.Idle = time.Duration(now - min(st.Last, now))
	case r.unasked && !r.last.IsZero(): // its plan counts from there
		u.Idle = time.Since(r.last)
	case r.unasked:
		u.Idle = time.Duration(1<<63 - 1)
	}
	u.Flows = uint64(flowsOf(l, id).Lasting)
	if st.Last > st.Used {
		u.Arrived = max(1, time.Duration(now-min(st.Last, now)))
	}
	l.came(r, st.ConnsTotal)
	return u
}

// note tells people.
func (l *Live) note(note site.Note) {
	now := time.Now()
	h := l.past()
	h.Decision = &event.Decision{Time: now, Action: note.Kind, Reason: note.Reason}
	ev := event.Event{Time: now, Site: l.Name, Kind: note.Kind, Reason: note.Reason, Text: note.Detail}
	if r := l.Replicas[note.Replica]; r != nil {
		ev.Replica = r.Name
	}
	switch {
	case note.Failure:
		h.Failure = &event.Failure{Time: now, Message: note.Reason}
		if note.Kind == event.Failed {
			h.Failure.Retry = l.retry
			h.failed = true
			l.failTrace(l.Host, note.Reason)
		}
	case note.Kind == event.Running:
		h.Failure, h.failed = nil, false
	case detect.Tier(note.Kind).Depth() > 0, note.Kind == event.Parked:
		h.Idle, h.byHand = now, l.Machine.ByHand()
		l.Host.Ahead.slept(l)
	}
	l.Host.Tell(ev)
}

// Leave lets go of what is to live on without this daemon.
func (l *Live) Leave() {
	a := cmp.Or(l.Activity, l.left)
	if a == nil {
		return
	}
	a.stopTimers()
	for _, r := range a.Replicas {
		if r.ns != nil {
			if err := r.ns.Leave(); err != nil {
				l.Host.Log.Error("while closing", "replica", r.Name, "error", err)
			}
		}
	}
}

// refuse answers those who are held with a RST (or port unreachable).
func (h *Host) refuse(id bpf.SiteID) {
	if _, err := h.Holder.Refuse(id); err != nil {
		h.Log.Warn("a held client could not be refused; it will find out at its next try", "site", id, "error", err)
	}
	if err := h.Data.ClearHold(id); err != nil {
		h.Log.Error("cannot reset the count of held packets", "site", id, "error", err)
	}
}
