package life

import (
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
	}
	l.Image = false
	l.Host.RemoveImage(l.Name)
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
func (l *Live) refuseTwin() {
	if !l.Image {
		return
	}
	if m, err := completeImage(l.Host.CheckpointDir(l.Name)); err == nil && m.Clonable {
		return
	}
	l.DropSleep("a replica was found alive")
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

// ForgetExperience removes what a site has taught. It is deleted.
func (st *Site) ForgetExperience() {
	if err := st.Host.Experiences.Remove(st.Name); err != nil {
		st.Host.Log.Error("what was learnt of a site that is deleted stays on disk", "site", st.Name, "error", err)
	}
}

// CheckpointsDir has the images of all sites.
func (h *Host) CheckpointsDir() string { return filepath.Join(h.Cfg.StateDir, "checkpoints") }

// CheckpointDir is where the image of a site is kept.
func (h *Host) CheckpointDir(siteName string) string {
	return filepath.Join(h.CheckpointsDir(), siteName)
}

// RemoveImage removes the site's image, if there is one: it cannot be restored
// from when this returns.
func (h *Host) RemoveImage(siteName string) {
	spent, err := criu.Consume(h.CheckpointDir(siteName))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		h.Log.Error("a checkpoint that is not to be used cannot be removed", "site", siteName, "error", err)
		return
	}
	h.Work.Go(func() {
		if err := criu.Discard(spent); err != nil {
			h.Log.Error("what is left of a checkpoint, which nobody can use any more, stays on disk; it is tried again when a daemon starts", "folder", spent, "error", err)
		}
	})
}

// SweepLeft removes, in the background, what earlier daemons have left of checkpoints.
// Monitors of theirs may still restore from it, or serve memory: they remove it when they have read
// all. Those of them that are killed before are why it looks again.
func (h *Host) SweepLeft() {
	h.Work.Go(func() {
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
	held, err := criu.Sweep(h.CheckpointsDir())
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
			e.With(func(l *Live) { l.DropSleep("it made room for another site's (checkpoints.disk)") })
		}
	}
}

// keptImages are all of them, the oldest first.
func (h *Host) keptImages() ([]keptImage, error) {
	names, err := criu.List(h.CheckpointsDir())
	if err != nil {
		return nil, err
	}
	var all []keptImage
	for _, name := range names {
		if m, err := completeImage(h.CheckpointDir(name)); err == nil {
			all = append(all, keptImage{site: name, made: m.Created, bytes: m.Bytes})
		}
	}
	slices.SortFunc(all, func(a, b keptImage) int { return a.made.Compare(b.made) })
	return all, nil
}
