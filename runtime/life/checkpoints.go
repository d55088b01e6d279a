package life

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/spec"
)

// metaRestored marks a container that was restored: what was warm when its image
// was made is warm at once.
const metaRestored = "restored"

// errNotWarm means that the replica has not answered often enough to be worth an
// image: what the application loads with its first answers would be missing.
var errNotWarm = errors.New("not warm yet")

// checkpoint dumps a replica. It stays frozen, whatever comes of it. CRIU is not
// broken off in the middle, when it has code of its own in the processes: a
// visitor waits for the rest.
func (st *Site) checkpoint(ctx context.Context, r *Replica, d *descent, s *spec.Site) error {
	if err := st.Host.Means.CRIU.Wait(ctx); err != nil {
		return err
	}
	l, err := st.Host.counted(r)
	if err != nil {
		return err
	}
	d.noteAnswers(l)
	warm, err := warm(r.Ctr, l, s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(st.Host.checkpointsDir(), 0o700); err != nil {
		return fmt.Errorf("make the folder for checkpoints: %w", err)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	m, err := r.Ctr.Checkpoint(context.WithoutCancel(ctx), st.Host.checkpointDir(st.Name), container.CheckpointOptions{
		SpecDigest: s.Digest(), ImageDigest: r.Ctr.Meta()[metaImage], Clonable: s.Checkpoint.Clonable, Warm: warm, Born: bornOf(r),
	})
	if err != nil {
		return err
	}
	d.disk = uint64(m.Bytes)
	if most := uint64(st.Host.Cfg.Checkpoints.Disk); d.disk > most {
		err := fmt.Errorf("the image has %d bytes, those of all sites may have %d (checkpoints.disk)", d.disk, most)
		return errors.Join(err, criu.Remove(st.Host.checkpointDir(st.Name)))
	}
	if err := st.Host.Disks.boundImage(ctx, st, s, d.disk); err != nil {
		return errors.Join(err, criu.Remove(st.Host.checkpointDir(st.Name)))
	}
	return nil
}

// warm says in words how warm the application is, or that it is not.
func warm(c Container, l bpf.Load, s *spec.Site) (string, error) {
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

// dumped is called when the machine has accepted an image, or not: somebody needs the
// processes, so nobody may restore them.
func (l *Live) dumped(r *Replica) {
	if r.stopping {
		r.dumped = true
		return
	}
	l.drop = true
}

// ImageIsOrWillBe says whether the site has an image: for a moment after its
// processes have ended the image lacks their writable layer.
func (l *Live) ImageIsOrWillBe() bool {
	if l.Activity != nil {
		for _, r := range l.Replicas {
			if r.dumped {
				return true
			}
		}
	}
	return l.Image
}

// imaged is called when nothing is left of a replica: the image of one that was dumped
// is complete now, unless it was dropped meanwhile.
func (r *Replica) imaged(st *Site) {
	is := func(l *Live) bool { return l.Activity != nil && r.dumped }
	dumped := false
	st.With(func(l *Live) { dumped = is(l) })
	if !dumped {
		return
	}
	m, err := completeImage(st.Host.checkpointDir(st.Name))
	st.With(func(l *Live) {
		if !is(l) {
			return
		}
		r.dumped = false
		if err != nil {
			l.drop = true
			l.TellDropped(err.Error())
		} else {
			l.Image = true
			l.Host.Go(func() { l.Host.addImage(m.Bytes) })
		}
		l.notify() // the next replica waits for it
	})
}

// restoreInstead restores the site's image, if it has one. If that fails the
// replica needs another place: the visitor gets a cold start in the same breath.
func (st *Site) restoreInstead(ctx context.Context, r *Replica, trace *wakeTrace, s *spec.Site, with container.Spec) (ctr Container, placed bool) {
	born, taken := st.takeImage(ctx, r)
	if !taken {
		return nil, true
	}
	trace.from(detect.TierCheckpointed)
	trace.mark(event.StepRestoring, st.Host.Now())
	with.Meta[metaRestored] = "true"
	if !born.IsZero() { // else the image could not be read, or has come this instant
		with.Meta[metaBorn] = born.Format(time.RFC3339)
	}
	with.SpecDigest, with.ImageDigest = with.Meta[metaSpec], with.Meta[metaImage]
	with.RestoreWithin = st.Host.startTimeout(s) / 2
	ctx, cancel := outliving(ctx, st.Host)
	defer cancel()
	ctr, timing, err := st.Host.Containers.Restore(ctx, with, st.Host.checkpointDir(st.Name))
	var left error
	if err == nil {
		trace.marks(timing)
		_, left = completeImage(st.Host.checkpointDir(st.Name)) // a clonable one is
	} else {
		trace.from(detect.TierCold)
	}
	st.With(func(l *Live) {
		if err == nil {
			l.Image = l.Image && left == nil
			return
		}
		r.restoring = false
		l.publish()
		l.Image, l.drop = false, true // a clonable one would be tried again
		if ctx.Err() == nil {
			r.notRestored(l, err)
		}
	})
	return ctr, err == nil
}

// notRestored tells that nothing came of a restore, and gives the tier up for a
// while, which grows with each time.
func (r *Replica) notRestored(l *Live, err error) {
	l.Host.Log.Warn("a checkpoint could not be restored; starting cold", "site", l.Name, "error", err)
	l.learnFailure(detect.TierCheckpointed, err)
	text := "the image is gone, and the site starts cold"
	if until := l.experience.Tier(detect.TierCheckpointed).Until; until.After(time.Now()) {
		text += "; it is not checkpointed again before " + until.Format(time.TimeOnly)
	}
	l.Host.Tell(event.Event{Site: l.Name, Replica: r.Name, Kind: event.NotRestored, Reason: err.Error(), Text: text})
}

// takeImage says whether there is an image, and when the processes in it were started. Packets are held until it is
// restored: its sockets listen a little before the rest of it can answer.
func (st *Site) takeImage(ctx context.Context, r *Replica) (born time.Time, taken bool) {
	// the replica that was dumped may still be on its way out
	err := st.Wait(ctx, func(a *Activity) bool {
		if a == nil {
			return true
		}
		for _, old := range a.Replicas {
			if old.dumped {
				return false
			}
		}
		return true
	})
	if err != nil {
		return born, false
	}
	has := false
	st.With(func(l *Live) { has = l.Image })
	outdated := ""
	if has {
		outdated, born = st.outdatedImage()
	}
	st.With(func(l *Live) {
		if outdated != "" {
			l.DropSleep(otherNow(outdated))
		}
		if taken = l.Image; taken {
			r.restoring = true
			l.publish()
		}
	})
	return born, taken
}

// restored lets visitors in: what the data path has heard of the replica's
// sockets meanwhile is true now.
func (r *Replica) restored(l *Live) {
	l.awaitProof(r)
	l.publish()
	st, err := l.Host.Data.Stats(bpf.ReplicaID(r.ID))
	if err != nil || st.Ready4|st.Ready6 == 0 {
		return // if this stays so the wait for its proof ends it
	}
	if r.trace != nil {
		r.trace.mark(event.StepListening, l.Host.Now())
	}
	r.listens(l, st.Ready4, st.Ready6)
}

// FindCRIU looks for the program in the background, as it has to be started for
// that, and tells the sites that are awake.
func (h *Host) FindCRIU() {
	h.Go(func() {
		tool, err := h.Containers.CRIU(h.Ctx)
		h.Means.CRIU.Found(err)
		if err != nil {
			h.Log.Info("sites are not checkpointed", "why", err)
			h.NewLadders()
			return
		}
		h.Log.Info("sites can be checkpointed", "by", tool.String())
		images := false
		for _, e := range h.Finder.All() {
			h.each(e, func(l *Live) { images = images || l.Image })
		}
		if images {
			_ = h.Containers.ExpectRestores(h.Ctx) // it was there a moment ago
		}
	})
}

// counted is what the kernel has counted for one replica.
func (h *Host) counted(r *Replica) (bpf.Load, error) {
	id := bpf.ReplicaID(r.ID)
	all, err := h.Data.LoadOf(id)
	return all[id], err
}
