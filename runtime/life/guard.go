package life

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/guard"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// A panic while a site is handled is a bug, and nothing that is known of the site
// can be relied on any more. It must not end the daemon, on which all others
// depend: the site is quarantined, and the goroutine that handled it ends, or goes
// on with the next one.

// ErrQuarantined means that the site's handling has panicked.
var ErrQuarantined = errors.New("the site is quarantined after a panic: apply its spec again")

// Guard calls f, which handles the site (nil: none in particular), and says whether it
// came to its end.
func (h *Host) Guard(st *Site, f func()) (ok bool) {
	fault := guard.Run(f)
	if fault == nil {
		return true
	}
	if st != nil { // f may have panicked outside of the lock
		_ = guard.Run(func() { st.With(func(l *Live) { l.quarantine(fault) }) })
	}
	if !fault.Told {
		h.panicked(fault)
	}
	return false
}

// each is With for one of several sites: its panic does not keep the others back.
func (h *Host) each(st *Site, f func(l *Live)) {
	h.Guard(st, func() { st.With(f) })
}

// Go calls f on a goroutine of its own, guarded. The daemon's end waits for it.
func (h *Host) Go(f func()) { h.Work.Go(func() { h.Guard(nil, f) }) }

// goDo is Go for what is done for the site.
func (st *Site) goDo(f func()) { st.Host.Work.Go(func() { st.Host.Guard(st, f) }) }

// goKeep is goDo for what makes, or keeps, a replica: nobody else would take away
// what it leaves at a panic.
func (st *Site) goKeep(r *Replica, f func()) {
	r.keepers.Add(1)
	st.Host.Work.Go(func() {
		ok := st.Host.Guard(st, f)
		if left := r.keepers.Add(-1); !ok && left == 0 {
			st.Host.Guard(st, func() { st.salvage(r) })
		}
	})
}

// panicked tells of a panic that is no site's.
func (h *Host) panicked(fault *guard.Fault) {
	fault.Told = true
	h.Log.Error("a panic, which is a bug of fcnode; going on without what was being done", "error", fault, "stack", string(fault.Stack))
	h.Quarantine.count(BadPanic)
	h.Tell(event.Event{Time: time.Now(), Kind: event.Panicked, Reason: fault.Error(), Text: "what was being done is not done; the daemon's log has the stack"})
}

// Guarded gives what calls things that are no site's and that are tried again after an
// error, and makes an error of their panic. A panic is told of once; each counts.
func Guarded(h *Host) func(f func() error) error {
	var mu sync.Mutex
	told := map[string]bool{}
	const most = 64 // in a text may be anything
	return func(f func() error) (err error) {
		fault := guard.Run(func() { err = f() })
		if fault == nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if told[fault.Error()] || len(told) == most {
			h.Quarantine.count(BadPanic)
		} else {
			told[fault.Error()] = true
			h.panicked(fault)
		}
		return fault
	}
}

// heed is deferred by those who give the lock away: a panic quarantines the site, and
// goes on up to the guard of the goroutine.
func heed(l *Live) {
	if p := recover(); p != nil {
		fault := guard.Of(p)
		_ = guard.Run(func() { l.quarantine(fault) })
		panic(fault)
	}
}

// quarantine stops all that the daemon does for the site. New visitors are refused.
// Replicas that serve keep those whom they have, as the kernel alone steers them.
func (l *Live) quarantine(fault *guard.Fault) {
	h := l.Host
	first := l.fault == nil && !l.gone
	if !fault.Told {
		h.Log.Error("a panic, which is a bug of fcnode, quarantines a site", "site", l.Name, "error", fault, "stack", string(fault.Stack), "first", first)
		fault.Told = true
	}
	if !first {
		return
	}
	a := l.Activity
	l.fault, l.left = fault, a
	h.Quarantine.AddSite(l.Name, fault)
	left := bpf.Site{Refuse: true}
	// Each by itself, as what is broken may well panic again.
	if a != nil {
		_ = guard.Run(a.stopTimers)
		_ = guard.Run(func() { h.Scale.End(l.Scaled()) })
		_ = guard.Run(func() { left.Replicas = a.stillServing(len(l.Ports)) })
		_ = guard.Run(func() { a.failTrace(h, fault.Error()) })
		l.Activity = nil // it stays among those that are awake for the replicas that are left
		for id, r := range a.Replicas {
			if r.keepers.Load() == 0 {
				if r.Ctr == nil { // it was not begun yet
					delete(a.Replicas, id)
					continue
				}
				st := l.Site
				st.goKeep(r, func() { st.watch(r) })
			}
			_ = guard.Run(r.endWake)
			r.proof, r.checkup = nil, nil
			if !serves(left, r) {
				h.discard(l.Site, r, a.Spec)
			}
		}
		_ = guard.Run(a.notify)
	}
	err := errors.New("panic")
	_ = guard.Run(func() { err = h.Data.SetSite(l.ID, left) })
	if err != nil {
		h.Log.Error("cannot tell the data path that a site is refused; its visitors wait in vain", "site", l.Name, "error", err)
	}
	_ = guard.Run(func() { h.refuse(l.ID) })
	past := l.past()
	past.Decision = &event.Decision{Time: time.Now(), Action: event.Quarantined, Reason: fault.Error()}
	past.Failure = &event.Failure{Time: time.Now(), Message: fault.Error()}
	text := "it is a bug of fcnode, and its log has the stack; visitors are refused"
	if n := len(left.Replicas); n > 0 {
		text += fmt.Sprintf(" but for those of the %d replicas that serve", n)
	}
	h.Quarantined(BadSite, event.Event{Site: l.Name, Reason: fault.Error(), Text: text + ": apply its spec again, or delete it"})
}

// stillServing are the replicas that need nobody but the kernel.
func (a *Activity) stillServing(ports int) (out []bpf.SiteReplica) {
	for _, v := range a.Machine.View().Replicas {
		r := a.Replicas[v.ID]
		m, ok := a.Machine.Replica(v.ID)
		if r == nil || !ok || m.State != site.Ready || m.Spare() || v.Asleep || r.Ctr == nil ||
			r.asleep || r.frozen || r.descent != nil || r.stopping || r.restoring || r.closed {
			continue
		}
		in := bpf.SiteReplica{ID: bpf.ReplicaID(v.ID), Draining: v.Draining}
		if v.Forced {
			in.Forced = bpf.AllPorts(ports)
		}
		out = append(out, in)
	}
	return out
}

func serves(set bpf.Site, r *Replica) bool {
	for _, in := range set.Replicas {
		if in.ID == bpf.ReplicaID(r.ID) {
			return true
		}
	}
	return false
}

// discard ends a replica of a quarantined site; who made it takes it away.
func (h *Host) discard(st *Site, r *Replica, s *spec.Site) {
	if r.stopping {
		return
	}
	r.stopping, r.kill = true, true
	r.cancel()
	if r.gate != nil {
		r.gate.drop()
	}
	if r.Ctr != nil {
		h.stopContainer(st, r, s)
	}
}

// salvage takes a replica away whose maker has panicked.
func (st *Site) salvage(r *Replica) {
	st.With(func(*Live) { r.endWake() })
	if r.Ctr != nil {
		if err := r.Ctr.Kill(st.Host.Ctx); err != nil {
			st.Host.Log.Error("cannot end a replica whose handling has panicked; the next daemon finds it", "replica", r.Name, "error", err)
			return
		}
	}
	_ = guard.Run(func() { st.Host.cleanUp(r) })
	st.With(func(l *Live) { r.remove(l) })
}

// Quarantined says whether the site's handling has panicked.
func (st *Site) Quarantined() (is bool) {
	st.With(func(l *Live) { is = l.fault != nil })
	return is
}

// Release ends a quarantine: the replicas that are left are stopped, and when they
// have ended the site is parked. There may be none to end.
func (st *Site) Release(ctx context.Context) error {
	for {
		var changed <-chan struct{}
		var err error
		st.With(func(l *Live) { changed, err = endQuarantine(l) })
		if err != nil {
			return fmt.Errorf("site %s stays in quarantine: %w", st.Name, err)
		}
		if changed == nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("site %s stays in quarantine, as its replicas have not ended yet; apply its spec again: %w", st.Name, context.Cause(ctx))
		case <-st.Host.Ctx.Done():
			return ErrStopping
		}
	}
}

// endQuarantine does what can be done now; what it returns is closed when there is more.
func endQuarantine(l *Live) (changed <-chan struct{}, err error) {
	if l.fault == nil {
		return nil, nil
	}
	if l.left != nil && len(l.left.Replicas) > 0 {
		for _, r := range l.left.Replicas {
			if !r.stopping {
				r.stopping = true
				l.Host.stopContainer(l.Site, r, l.left.Spec)
			}
		}
		return l.left.changed, nil
	}
	if err := errors.Join(l.Host.Data.ParkSite(l.ID), l.Host.Data.ClearHold(l.ID)); err != nil {
		return nil, err
	}
	l.fault, l.left = nil, nil
	l.become(nil)
	l.Host.Quarantine.TakeSite(l.Name)
	return nil, nil
}
