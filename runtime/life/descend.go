package life

import (
	"context"
	"sync"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/policy"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// descent is a replica's way to sleep. Somebody who needs the replica calls it
// back at any step: what has not begun yet does not begin, and what has begun is
// ended or outrun.
type descent struct {
	tier     detect.Tier
	back     bool               // called back; guarded by the entry's mu
	cancel   context.CancelFunc // of what can be broken off
	over     chan struct{}      // closed when neither the freezer nor an image is the descent's any more
	thawable func()             // closes it

	own          int           // connections to others
	memory, disk uint64        // what the replica holds when it has arrived, in bytes; 0: not known
	answer       time.Duration // median of its answers; 0: not known
}

// descend puts a replica to sleep in the background.
func (l *Live) descend(id site.ReplicaID, tier detect.Tier) {
	r := l.Replicas[id]
	ctx, cancel := context.WithCancel(l.Host.Ctx)
	d := &descent{tier: tier, cancel: cancel, over: make(chan struct{})}
	d.thawable = sync.OnceFunc(func() { close(d.over) })
	r.descent = d
	s := l.Spec
	if m, ok := l.Machine.Replica(id); ok && m.Spare() {
		l.readySpare(r, s)
	}
	st := l.Site
	st.goDo(func() {
		defer cancel()
		defer d.thawable()
		err := st.suspend(ctx, r, d, s)
		st.With(func(l *Live) { l.suspended(r, d, err) })
	})
}

// suspend does the slow part. After an error the replica is as it was, but for
// being frozen.
func (st *Site) suspend(ctx context.Context, r *Replica, d *descent, s *spec.Site) error {
	// A visitor can be served a little before the daemon knows of the container.
	err := st.Wait(ctx, func(*Activity) bool { return r.Ctr != nil })
	if err == nil {
		err = unpaused(ctx, st, r)
	}
	if err != nil {
		return err
	}
	if d.tier == detect.TierCheckpointed {
		st.Host.Wakes.Yield(ctx.Done())
		return st.checkpoint(ctx, r, d, s)
	}
	g := r.Ctr.Group()
	st.Host.boundSwap(r, s, true)
	if err := g.Freeze(ctx); err != nil {
		return err
	}
	d.thawable() // a visitor thaws it while the rest is under way
	if d.tier == detect.TierReclaimed {
		st.Host.Wakes.Yield(ctx.Done())
		err = st.Host.reclaim(ctx, r, s)
	}
	d.own = st.ownConns(r)
	if memory, known := g.MemoryCurrent(); known == nil {
		d.memory = memory
	}
	if l, known := st.Host.counted(r); known == nil {
		d.noteAnswers(l)
	}
	return err
}

// suspended takes the outcome to the machine, unless that has changed its mind.
func (l *Live) suspended(r *Replica, d *descent, err error) {
	if d.back || l.Activity == nil || l.Host.Stopped() {
		l.drop = l.drop || d.disk > 0 // before its processes run again
		return                        // who called it back gives the answer; the next daemon finds what is half-made
	}
	if d.tier != detect.TierCheckpointed || err != nil {
		r.descent = nil
	} // else whoever is needed now waits until his image is gone
	if err == nil {
		r.frozen, r.OwnConns = true, d.own
		if r.trace != nil { // it was woken, and no visitor came
			l.Host.endTrace(r.trace, event.ResultOK, "")
			r.trace = nil
		}
		l.handle(site.Descended{ID: r.ID, Tier: d.tier})
		r.descent = nil
		if l.Activity == nil {
			return
		}
		l.Host.Scale.GiveBurst(l.Scaled(), r.ID)
		if d.tier == detect.TierCheckpointed {
			l.dumped(r)
		}
		d.teach(l)
		return
	}
	if !r.frozen {
		if thaw := r.Ctr.Group().Thaw(l.Host.Ctx); thaw != nil {
			l.Host.endStuck(l.Site, r, l.Spec, thaw)
			return
		}
		l.Host.boundSwap(r, l.Spec, false)
	}
	l.learnFailure(d.tier, err)
	l.handle(site.DescendFailed{ID: r.ID, Tier: d.tier, Reason: err.Error()})
}

func (d *descent) noteAnswers(l bpf.Load) {
	if l.Latency.Count() >= policy.EnoughAnswers {
		d.answer = l.Latency.Quantile(0.5)
	}
}

// callBack ends a replica's descent. What it returns is to be called before the
// replica is touched, without a lock.
func (r *Replica) callBack() (thawable func()) {
	d := r.descent
	if d == nil {
		return func() {}
	}
	r.descent = nil
	d.back = true
	d.cancel()
	return func() { <-d.over }
}

// ascend makes a replica run again.
func (l *Live) ascend(id site.ReplicaID) {
	r := l.Replicas[id]
	asleep := r.descent == nil
	thawable := r.callBack()
	r.frozen = false
	if l.followRise(r) { // the data path looks for its first answer, as it does by itself when a packet knocks
		if err := l.Host.Data.BeginWake(bpf.ReplicaID(id)); err != nil {
			l.Host.Log.Error("the first answer of a wake will not be seen", "replica", r.Name, "error", err)
		}
	}
	r.followJoin(l)
	trace, st := r.trace, l.Site
	mark := func() {
		if trace != nil {
			trace.mark(event.StepThawed, st.Host.Now()) // the answer may be quicker than what comes after it
		}
	}
	if asleep && l.pause == nil { // at once: the other goroutine may have to wait for a turn of its own first
		mark()
		_ = r.Ctr.Group().BeginThaw() // whether it came to anything is seen there
	}
	st.goDo(func() {
		thawable()
		if unpaused(st.Host.Ctx, st, r) != nil {
			return
		}
		mark()
		err := r.Ctr.Group().Thaw(st.Host.Ctx)
		st.With(func(l *Live) { l.ascended(r, err) })
	})
}

func (l *Live) ascended(r *Replica, err error) {
	if r.stopping || l.Activity == nil || l.Host.Stopped() {
		return
	}
	if err != nil {
		l.Host.endStuck(l.Site, r, l.Spec, err)
		return
	}
	if r.trace != nil {
		l.Host.endByHand(r)
	}
	l.Host.unmark(r)
	l.handle(site.Ascended{ID: r.ID})
	if l.Activity != nil && r.descent == nil { // else it is on its way back, and has lifted the bound
		l.Host.boundSwap(r, l.Spec, false)
	}
}

// unmark takes off all marks of a sleeper, also that a packet has knocked: the
// program itself takes that one off at an answer by TCP only.
func (h *Host) unmark(r *Replica) {
	r.asleep = false
	if err := h.Data.SetAsleep(bpf.ReplicaID(r.ID), false); err != nil {
		h.Log.Error("a replica that runs counts as asleep while the daemon is silent", "replica", r.Name, "error", err)
	}
}

// endStuck kills a replica that cannot be made to run: its visitors get another.
func (h *Host) endStuck(st *Site, r *Replica, s *spec.Site, err error) {
	h.Log.Error("a sleeping replica cannot be thawed; ending it", "replica", r.Name, "error", err)
	if !r.stopping {
		r.stopping, r.kill = true, true
		h.stopContainer(st, r, s)
	}
}
