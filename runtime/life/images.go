package life

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/store"
)

// completeImage reads the manifest of an image that has all that belongs to it.
func completeImage(dir string) (criu.Manifest, error) {
	m, err := criu.Read(dir)
	if err != nil {
		return m, err
	}
	if _, err := os.Stat(filepath.Join(dir, criu.UpperDir)); err != nil {
		return m, fmt.Errorf("it was not finished: %w", err)
	}
	return m, nil
}

// DropSleep throws the site's image away.
func (l *Live) DropSleep(reason string) {
	if l.Activity == nil && !l.Image {
		return // only a site that is awake can have one that is not known yet
	}
	had := l.ImageIsOrWillBe()
	if l.Activity != nil {
		for _, r := range l.Replicas {
			r.dumped = false
		}
		l.notify() // the next replica waits for it
	}
	l.Image, l.drop = false, true
	if had {
		l.TellDropped(reason)
	}
}

// TellDropped tells that the site's image was thrown away.
func (st *Site) TellDropped(reason string) {
	st.Host.Tell(event.Event{Site: st.Name, Kind: event.CheckpointDropped, Reason: reason})
}

// sweepEvery is how long the next look at what is left of checkpoints waits for those
// who read it.
const sweepEvery = time.Minute

// refuseTwin drops the image of a site whose processes were found alive: the
// last daemon died between making the one and ending the others, and both must
// never run.
func refuseTwin(st *Site) {
	image := false
	st.With(func(l *Live) { image = l.Image })
	if !image {
		return
	}
	if m, err := completeImage(st.Host.checkpointDir(st.Name)); err == nil && m.Clonable {
		return
	}
	st.With(func(l *Live) { l.DropSleep("a replica was found alive") })
}

// imageDisk is what is known of the disk that images take. What was removed since
// the last look is not taken off: the next look is only sooner for it.
type imageDisk struct {
	mu     sync.Mutex
	looked bool
	bytes  int64
}

// keptImage is one on disk.
type keptImage struct {
	site  string
	made  time.Time
	bytes int64
}

// RemoveExperience removes what a site has taught. It is deleted.
func (st *Site) RemoveExperience() {
	if err := st.Host.Experiences.Remove(st.Name); err != nil {
		st.Host.Log.Error("what was learnt of a site that is deleted stays on disk", "site", st.Name, "error", err)
	}
}

// checkpointsDir has the images of all sites.
func (h *Host) checkpointsDir() string { return filepath.Join(h.Cfg.StateDir, "checkpoints") }

// checkpointDir is where the image of a site is kept.
func (h *Host) checkpointDir(siteName string) string {
	return filepath.Join(h.checkpointsDir(), siteName)
}

// removeImage removes the site's image, if there is one: it cannot be restored
// from when this returns.
func (h *Host) removeImage(siteName string) {
	spent, err := criu.Consume(h.checkpointDir(siteName))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		h.Log.Error("a checkpoint that is not to be used cannot be removed", "site", siteName, "error", err)
		return
	}
	h.Go(func() {
		if err := criu.Discard(spent); err != nil {
			h.Log.Error("what is left of a checkpoint, which nobody can use any more, stays on disk; it is tried again when a daemon starts", "folder", spent, "error", err)
		}
	})
}

// SweepLeft removes, in the background, what earlier daemons have left of checkpoints.
// Monitors of theirs may still restore from it, or serve memory: they remove it when they have read
// all. Those of them that are killed before are why it looks again.
func (h *Host) SweepLeft() {
	h.Go(func() {
		tick := time.NewTicker(sweepEvery)
		defer tick.Stop()
		for h.SweepImages() > 0 {
			select {
			case <-tick.C:
			case <-h.Ctx.Done():
				return // the next daemon goes on
			}
		}
	})
}

// SweepImages looks once, and gives how many are being read, or made.
func (h *Host) SweepImages() int {
	held, err := criu.Sweep(h.checkpointsDir())
	if err != nil {
		h.Log.Error("what is left of checkpoints stays on disk for now", "error", err)
	}
	return held
}

// addImage counts a new image, and drops the oldest while all of them take more
// disk than they may; then a tenth more, so that not every image makes for a look
// at all others.
func (h *Host) addImage(bytes int64) {
	most := int64(h.Cfg.Checkpoints.Disk)
	d := &h.imageDisk
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bytes += bytes
	if d.looked && d.bytes <= most {
		return
	}
	all, err := h.keptImages()
	if err != nil {
		h.Log.Error("cannot tell how much disk the checkpoints take", "error", err)
		return
	}
	d.looked, d.bytes = true, 0
	for _, i := range all {
		d.bytes += i.bytes
	}
	if d.bytes <= most {
		return
	}
	for _, i := range all[:max(0, len(all)-1)] { // not the newest
		if d.bytes <= most-most/10 {
			return
		}
		d.bytes -= i.bytes
		if e, err := h.Finder.ByName(i.site); err == nil {
			h.each(e, func(l *Live) { l.DropSleep("it made room for another site's (checkpoints.disk)") })
		}
	}
}

// keptImages are all of them, the oldest first.
func (h *Host) keptImages() ([]keptImage, error) {
	names, err := criu.List(h.checkpointsDir())
	if err != nil {
		return nil, err
	}
	var all []keptImage
	for _, name := range names {
		if m, err := completeImage(h.checkpointDir(name)); err == nil {
			all = append(all, keptImage{site: name, made: m.Created, bytes: m.Bytes})
		}
	}
	slices.SortFunc(all, func(a, b keptImage) int { return a.made.Compare(b.made) })
	return all, nil
}

// FindImages looks at what is on disk when the daemon starts: what belongs to
// nobody, or lacks something, is removed.
func (h *Host) FindImages() {
	names, err := criu.List(h.checkpointsDir())
	if err != nil {
		h.Log.Error("checkpointed sites start cold", "error", err)
	}
	for _, name := range names {
		// that it is what it seems to be is found out by its restore
		_, err := os.Stat(filepath.Join(h.checkpointDir(name), criu.UpperDir))
		e, unknown := h.Finder.ByName(name)
		if err == nil && unknown == nil {
			h.each(e, func(l *Live) { l.Image = true })
			continue
		}
		if err == nil {
			err = errors.New("its site is gone")
		}
		h.Log.Info("removing a checkpoint", "site", name, "why", err)
		h.removeImage(name)
		if unknown == nil {
			e.TellDropped(err.Error())
		}
	}
}

// SweepLayers removes the writable layers of replicas that are gone, which is all but
// those in keep: of those that a power cut ended nothing else is left.
func (h *Host) SweepLayers(keep map[string]bool) {
	dir := filepath.Join(h.Cfg.StateDir, "replicas")
	layers, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		h.Log.Error("what earlier replicas have left on disk stays there", "error", err)
	}
	layers = slices.DeleteFunc(layers, func(l fs.DirEntry) bool { return keep[l.Name()] })
	h.Go(func() { // they may be large, and no new replica has one of these names
		for _, l := range layers {
			if h.Stopped() {
				return // the next daemon goes on
			}
			if err := os.RemoveAll(filepath.Join(dir, l.Name())); err != nil {
				h.Log.Error("cannot remove what an earlier replica has left on disk", "replica", l.Name(), "error", err)
			}
		}
	})
}

// ImagesInUse are the digests of the images that sites were applied with, now and
// before they were changed last, and replicas run from. If an image that is not
// pinned yet cannot be resolved that is an error: its source may only be away for a
// while.
func (h *Host) ImagesInUse(ctx context.Context) ([]string, error) {
	refs := map[string]string{} // to a site that names it
	var out []string
	err := h.Store.All(func(s *store.Site) error {
		if s.Image != "" {
			out = append(out, s.Image)
		} else if CanPin(s.Spec.Image) {
			refs[s.Spec.Image] = s.Spec.Name
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for ref, name := range refs {
		img, err := h.Images.Resolve(ctx, ref)
		switch {
		case err == nil:
			out = append(out, img.Digest)
		case errors.Is(err, image.ErrUntrusted), errors.Is(err, image.ErrLimit): // no replica can start from it either
		default:
			return nil, fmt.Errorf("image of site %s: %w", name, err)
		}
	}
	before, err := h.Store.PreviousImages() // for a rollback
	if err != nil {
		return nil, err
	}
	return append(append(out, before...), RunningImages(h)...), nil
}

// RunningImages are the digests of the images that replicas run from, some more than once.
func RunningImages(h *Host) (out []string) {
	for _, e := range h.Awake.All() {
		h.each(e, func(l *Live) {
			if a := cmp.Or(l.Activity, l.left); a != nil {
				for _, r := range a.Replicas {
					out = append(out, r.Image)
				}
			}
		})
	}
	return out
}
