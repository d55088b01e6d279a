package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// metaRestored marks a container that was restored: what was warm when its image
// was made is warm at once.
const metaRestored = "restored"

// errNotWarm means that the replica has not answered often enough to be worth an
// image: what the application loads with its first answers would be missing.
var errNotWarm = errors.New("not warm yet")

// criuState is whether this machine can make checkpoints. Until that is known, it is
// taken for granted: a site that would go cold for want of it would be lost to its tier until
// its next visitor, and who makes a checkpoint can wait.
type criuState struct {
	known chan struct{} // closed when err is valid

	mu  sync.Mutex
	err error
}

func (c *criuState) get() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// set is called once.
func (c *criuState) set(err error) {
	c.mu.Lock()
	c.err = err
	c.mu.Unlock()
	close(c.known)
}

// wait waits until it is known.
func (c *criuState) wait(ctx context.Context) error {
	select {
	case <-c.known:
		return c.get()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (n *Node) canCheckpoint() error { return n.criu.get() }

// findCRIU looks for the program in the background, as it has to be started for
// that, and tells the sites that are awake.
func (n *Node) findCRIU() {
	n.work.Go(func() {
		tool, err := n.containers.CRIU(n.ctx)
		n.criu.set(err)
		if err != nil {
			n.log.Info("sites are not checkpointed", "why", err)
			n.newLadders()
			return
		}
		n.log.Info("sites can be checkpointed", "by", tool.String())
		images := false
		for _, e := range n.all() {
			e.mu.Lock()
			images = images || e.image
			e.mu.Unlock()
		}
		if images {
			_ = n.containers.ExpectRestores(n.ctx) // it was there a moment ago
		}
	})
}

// checkpoint dumps a replica. It stays frozen, whatever comes of it. CRIU is not
// broken off in the middle, when it has code of its own in the processes: a
// visitor waits for the rest.
func (n *Node) checkpoint(ctx context.Context, e *entry, r *replica, d *descent, s *spec.Site) error {
	if err := n.criu.wait(ctx); err != nil {
		return err
	}
	l, err := n.counted(r)
	if err != nil {
		return err
	}
	d.noteAnswers(l)
	warm, err := warm(r.ctr, l, s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(n.checkpointsDir(), 0o700); err != nil {
		return fmt.Errorf("make the folder for checkpoints: %w", err)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	m, err := r.ctr.Checkpoint(context.WithoutCancel(ctx), n.checkpointDir(e.name), container.CheckpointOptions{
		SpecDigest: s.Digest(), ImageDigest: r.ctr.Meta()[metaImage], Clonable: s.Checkpoint.Clonable, Warm: warm,
	})
	if err != nil {
		return err
	}
	d.disk = uint64(m.Bytes)
	if most := uint64(n.cfg.Checkpoints.Disk); d.disk > most {
		err := fmt.Errorf("the image has %d bytes, those of all sites may have %d (checkpoints.disk)", d.disk, most)
		return errors.Join(err, criu.Remove(n.checkpointDir(e.name)))
	}
	return nil
}

// warm says in words how warm the application is, or that it is not.
func warm(c *container.Container, l bpf.Load, s *spec.Site) (string, error) {
	if c.Meta()[metaRestored] != "" {
		return "restored from a warm one", nil
	}
	// who does not take turns tells nothing of his answers
	answers := l.Requests + l.NoTurns + l.UDPFlows
	if answers < uint64(s.Checkpoint.Warm) {
		return "", fmt.Errorf("%w: it has given %d answers of %d (checkpoint.warm)", errNotWarm, answers, s.Checkpoint.Warm)
	}
	return fmt.Sprintf("after %d answers", answers), nil
}

// counted is what the kernel has counted for one replica.
func (n *Node) counted(r *replica) (bpf.Load, error) {
	id := bpf.ReplicaID(r.id)
	all, err := n.dp.LoadOf(id)
	return all[id], err
}

// dumped is called when the machine has accepted an image, or not. The caller
// holds e.mu.
func (n *Node) dumped(e *entry, r *replica) {
	if r.stopping {
		r.dumped = true
		return
	}
	n.removeImage(e.name) // somebody needs the processes, so nobody may restore them
}

// imageIsOrWillBe says whether the site has an image: for a moment after its
// processes have ended the image lacks their writable layer. The caller holds
// e.mu.
func (e *entry) imageIsOrWillBe() bool {
	if e.active != nil {
		for _, r := range e.active.replicas {
			if r.dumped {
				return true
			}
		}
	}
	return e.image
}

// imaged is called when nothing is left of a replica that was dumped: its image
// is complete now, unless it was dropped meanwhile. The caller holds e.mu.
func (n *Node) imaged(e *entry, r *replica) {
	if !r.dumped {
		return
	}
	r.dumped = false
	m, err := completeImage(n.checkpointDir(e.name))
	if err != nil {
		n.removeImage(e.name)
		n.tellDropped(e, err.Error())
		return
	}
	e.image = true
	n.work.Go(func() { n.addImage(m.Bytes) })
}

// restoreInstead restores the site's image, if it has one. If that fails the
// replica needs another place: the visitor gets a cold start in the same breath.
func (n *Node) restoreInstead(ctx context.Context, e *entry, r *replica, trace *wakeTrace, s *spec.Site, with container.Spec) (ctr *container.Container, placed bool) {
	if !n.takeImage(ctx, e, r) {
		return nil, true
	}
	trace.from(site.TierCheckpointed)
	trace.mark(api.StepRestoring, bpf.Now())
	with.Meta[metaRestored] = "true"
	with.SpecDigest, with.ImageDigest = with.Meta[metaSpec], with.Meta[metaImage]
	with.RestoreWithin = n.startTimeout(s) / 2
	ctr, timing, err := n.containers.Restore(ctx, with, n.checkpointDir(e.name))
	e.mu.Lock()
	defer e.mu.Unlock()
	if err == nil {
		_, left := completeImage(n.checkpointDir(e.name)) // a clonable one is
		e.image = left == nil
		trace.marks(timing)
		return ctr, true
	}
	r.restoring = false
	n.publish(e)
	trace.from(site.TierCold)
	e.image = false
	n.removeImage(e.name) // a clonable one would be tried again
	if ctx.Err() == nil {
		n.notRestored(e, r, err)
	}
	return nil, false
}

// notRestored tells that nothing came of a restore, and gives the tier up for a
// while, which grows with each time. The caller holds e.mu.
func (n *Node) notRestored(e *entry, r *replica, err error) {
	n.log.Warn("a checkpoint could not be restored; starting cold", "site", e.name, "error", err)
	n.learnFailure(e, site.TierCheckpointed, err)
	text := "the image is gone, and the site starts cold"
	if until := n.experience(e).tier(site.TierCheckpointed).Until; until.After(time.Now()) {
		text += "; it is not checkpointed again before " + until.Format(time.TimeOnly)
	}
	n.journalEvent(api.Event{Site: e.name, Replica: r.name, Kind: "not-restored", Reason: err.Error(), Text: text})
}

// takeImage says whether there is an image. Packets are held until it is
// restored: its sockets listen a little before the rest of it can answer.
func (n *Node) takeImage(ctx context.Context, e *entry, r *replica) bool {
	// the replica that was dumped may still be on its way out
	err := n.wait(ctx, e, func(a *active) bool {
		if a == nil {
			return true
		}
		for _, old := range a.replicas {
			if old.dumped {
				return false
			}
		}
		return true
	})
	if err != nil {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.image {
		return false
	}
	r.restoring = true
	n.publish(e)
	return true
}

// restored lets visitors in: what the data path has heard of the replica's
// sockets meanwhile is true now. The caller holds e.mu.
func (n *Node) restored(e *entry, r *replica) {
	n.awaitProof(e, r)
	n.publish(e)
	st, err := n.dp.Stats(bpf.ReplicaID(r.id))
	if err != nil || st.Ready4|st.Ready6 == 0 {
		return // if this stays so the wait for its proof ends it
	}
	if r.trace != nil {
		r.trace.mark(api.StepListening, bpf.Now())
		n.endByHand(r)
	}
	n.handle(e, site.ReplicaReady{ID: r.id, All: n.allReady(e, st.Ready4, st.Ready6)})
}
