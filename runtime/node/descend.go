package node

import (
	"context"
	"sync"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// descent is a replica's way to sleep. Somebody who needs the replica calls it
// back at any step: what has not begun yet does not begin, and what has begun is
// ended or outrun.
type descent struct {
	tier   detect.Tier
	back   bool               // called back; guarded by the entry's mu
	cancel context.CancelFunc // of what can be broken off
	over   chan struct{}      // closed when the freezer is not the descent's any more
	settle func()             // closes it

	memory, disk uint64        // what the replica holds when it has arrived, in bytes; 0: not known
	answer       time.Duration // median of its answers; 0: not known
}

// descend puts a replica to sleep in the background. The caller holds e.mu.
func (n *Node) descend(e *entry, id site.ReplicaID, tier detect.Tier) {
	r := e.active.replicas[id]
	ctx, cancel := context.WithCancel(n.ctx)
	d := &descent{tier: tier, cancel: cancel, over: make(chan struct{})}
	d.settle = sync.OnceFunc(func() { close(d.over) })
	r.descent = d
	s := e.active.spec
	if m, ok := e.active.machine.Replica(id); ok && m.Spare() {
		n.readySpare(e, r, s)
	}
	n.work.Go(func() {
		defer cancel()
		defer d.settle()
		n.sunk(e, r, d, n.sink(ctx, e, r, d, s))
	})
}

// sink does the slow part. After an error the replica is as it was, but for
// being frozen.
func (n *Node) sink(ctx context.Context, e *entry, r *replica, d *descent, s *spec.Site) error {
	// A visitor can be served a little before the daemon knows of the container.
	err := n.wait(ctx, e, func(*active) bool { return r.ctr != nil })
	if err != nil {
		return err
	}
	if d.tier == detect.TierCheckpointed {
		n.wakes.Yield(ctx.Done())
		return n.checkpoint(ctx, e, r, d, s)
	}
	g := r.ctr.Group()
	n.boundSwap(r, s, true)
	if err := g.Freeze(ctx); err != nil {
		return err
	}
	d.settle() // a visitor thaws it while the rest is under way
	if d.tier == detect.TierReclaimed {
		n.wakes.Yield(ctx.Done())
		err = n.reclaim(ctx, r, s)
	}
	if memory, known := g.MemoryCurrent(); known == nil {
		d.memory = memory
	}
	if l, known := n.counted(r); known == nil {
		d.noteAnswers(l)
	}
	return err
}

// sunk takes the outcome to the machine, unless that has changed its mind.
func (n *Node) sunk(e *entry, r *replica, d *descent, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if d.back || e.active == nil || n.stopped() {
		if d.disk > 0 {
			n.removeImage(e.name) // before its processes run again
		}
		return // who called it back gives the answer; the next daemon finds what is half-made
	}
	r.descent = nil
	if err == nil {
		r.frozen = true
		if r.trace != nil { // it was woken, and no visitor came
			n.endTrace(r.trace, event.ResultOK, "")
			r.trace = nil
		}
		n.handle(e, site.Descended{ID: r.id, Tier: d.tier})
		if e.active == nil {
			return
		}
		n.giveBurst(e, r)
		if d.tier == detect.TierCheckpointed {
			n.dumped(e, r)
		}
		n.learnHeld(e, d)
		return
	}
	if !r.frozen {
		if thaw := r.ctr.Group().Thaw(n.ctx); thaw != nil {
			n.endStuck(e, r, thaw)
			return
		}
		n.boundSwap(r, e.active.spec, false)
	}
	n.learnFailure(e, d.tier, err)
	n.handle(e, site.DescendFailed{ID: r.id, Tier: d.tier, Reason: err.Error()})
}

func (d *descent) noteAnswers(l bpf.Load) {
	if l.Latency.Count() >= enoughAnswers {
		d.answer = l.Latency.Quantile(0.5)
	}
}

// callBack ends a replica's descent. What it returns is to be called before the
// replica is touched, without a lock. The caller holds e.mu.
func (r *replica) callBack() (settled func()) {
	d := r.descent
	if d == nil {
		return func() {}
	}
	r.descent = nil
	d.back = true
	d.cancel()
	return func() { <-d.over }
}

// ascend makes a replica run again. The caller holds e.mu.
func (n *Node) ascend(e *entry, id site.ReplicaID) {
	r := e.active.replicas[id]
	asleep := r.descent == nil
	settled := r.callBack()
	r.frozen = false
	n.followRise(e, r)
	n.followJoin(e, r)
	trace := r.trace
	mark := func() {
		if trace != nil {
			trace.mark(event.StepThawed, bpf.Now()) // the answer may be quicker than what comes after it
		}
	}
	if asleep { // at once: the other goroutine may have to wait for a turn of its own first
		mark()
		_ = r.ctr.Group().BeginThaw() // whether it came to anything is seen there
	}
	n.work.Go(func() {
		settled()
		mark()
		err := r.ctr.Group().Thaw(n.ctx)
		e.mu.Lock()
		defer e.mu.Unlock()
		if r.stopping || e.active == nil || n.stopped() {
			return
		}
		if err != nil {
			n.endStuck(e, r, err)
			return
		}
		if r.trace != nil {
			n.endByHand(r)
		}
		n.handle(e, site.Ascended{ID: id})
		if e.active != nil && r.descent == nil { // else it is on its way back, and has lifted the bound
			n.boundSwap(r, e.active.spec, false)
		}
	})
}

// endStuck kills a replica that cannot be made to run: its visitors get another.
// The caller holds e.mu.
func (n *Node) endStuck(e *entry, r *replica, err error) {
	n.log.Error("a sleeping replica cannot be thawed; ending it", "replica", r.name, "error", err)
	if !r.stopping {
		r.stopping, r.kill = true, true
		n.stopContainer(e, r)
	}
}
