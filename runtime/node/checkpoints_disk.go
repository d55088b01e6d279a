package node

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
	"github.com/fcnode/fcnode/runtime/api"
)

func (n *Node) checkpointsDir() string { return filepath.Join(n.cfg.StateDir, "checkpoints") }

func (n *Node) checkpointDir(siteName string) string {
	return filepath.Join(n.checkpointsDir(), siteName)
}

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

// dropSleep throws the site's image away. The caller holds e.mu.
func (n *Node) dropSleep(e *entry, reason string) {
	if e.active == nil && !e.image {
		return // only a site that is awake can have one that is not known yet
	}
	had := e.imageIsOrWillBe()
	if e.active != nil {
		for _, r := range e.active.replicas {
			r.dumped = false
		}
	}
	e.image = false
	n.removeImage(e.name)
	if had {
		n.tellDropped(e, reason)
	}
}

func (n *Node) tellDropped(e *entry, reason string) {
	n.journalEvent(api.Event{Site: e.name, Kind: "checkpoint-dropped", Reason: reason})
}

// removeImage removes the site's image, if there is one: it cannot be restored
// from when this returns.
func (n *Node) removeImage(siteName string) {
	spent, err := criu.Consume(n.checkpointDir(siteName))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		n.log.Error("a checkpoint that is not to be used cannot be removed", "site", siteName, "error", err)
		return
	}
	n.work.Go(func() {
		if err := criu.Discard(spent); err != nil {
			n.log.Error("what is left of a checkpoint, which nobody can use any more, stays on disk; it is tried again when a daemon starts", "folder", spent, "error", err)
		}
	})
}

// findCheckpoints looks at what is on disk when the daemon starts: what belongs to
// nobody, or lacks something, is removed.
func (n *Node) findCheckpoints() {
	names, err := criu.List(n.checkpointsDir())
	if err != nil {
		n.log.Error("checkpointed sites start cold", "error", err)
	}
	for _, name := range names {
		// that it is what it seems to be is found out by its restore
		_, err := os.Stat(filepath.Join(n.checkpointDir(name), criu.UpperDir))
		e := n.sites[name]
		if err == nil && e != nil {
			e.image = true
			continue
		}
		if err == nil {
			err = errors.New("its site is gone")
		}
		n.log.Info("removing a checkpoint", "site", name, "why", err)
		n.removeImage(name)
		if e != nil {
			n.tellDropped(e, err.Error())
		}
	}
}

// sweepEvery is how long the next look at what is left of checkpoints waits for those
// who read it.
const sweepEvery = time.Minute

// sweepLeft removes, in the background, what earlier daemons have left of checkpoints.
// Monitors of theirs may still restore from it, or serve memory: they remove it when they have read
// all. Those of them that are killed before are why it looks again.
func (n *Node) sweepLeft() {
	n.work.Go(func() {
		tick := time.NewTicker(sweepEvery)
		defer tick.Stop()
		for n.sweepImages() > 0 {
			select {
			case <-tick.C:
			case <-n.ctx.Done():
				return // the next daemon goes on
			}
		}
	})
}

// sweepImages looks once, and gives how many are being read, or made.
func (n *Node) sweepImages() int {
	held, err := criu.Sweep(n.checkpointsDir())
	if err != nil {
		n.log.Error("what is left of checkpoints stays on disk for now", "error", err)
	}
	return held
}

// refuseTwin drops the image of a site whose processes were found alive: the
// last daemon died between making the one and ending the others, and both must
// never run. The caller holds e.mu.
func (n *Node) refuseTwin(e *entry) {
	if !e.image {
		return
	}
	if m, err := completeImage(n.checkpointDir(e.name)); err == nil && m.Clonable {
		return
	}
	n.dropSleep(e, "a replica was found alive")
}

// imageDisk is what is known of the disk that images take. What was removed since
// the last look is not taken off: the next look is only sooner for it.
type imageDisk struct {
	mu     sync.Mutex
	looked bool
	bytes  int64
}

// addImage counts a new image, and drops the oldest while all of them take more
// disk than they may; then a tenth more, so that not every image makes for a look
// at all others.
func (n *Node) addImage(bytes int64) {
	most := int64(n.cfg.Checkpoints.Disk)
	d := &n.imageDisk
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bytes += bytes
	if d.looked && d.bytes <= most {
		return
	}
	all, err := n.keptImages()
	if err != nil {
		n.log.Error("cannot tell how much disk the checkpoints take", "error", err)
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
		if e, err := n.byName(i.site); err == nil {
			e.mu.Lock()
			n.dropSleep(e, "it made room for another site's (checkpoints.disk)")
			e.mu.Unlock()
		}
	}
}

// keptImage is one on disk.
type keptImage struct {
	site  string
	made  time.Time
	bytes int64
}

// keptImages are all of them, the oldest first.
func (n *Node) keptImages() ([]keptImage, error) {
	names, err := criu.List(n.checkpointsDir())
	if err != nil {
		return nil, err
	}
	var all []keptImage
	for _, name := range names {
		if m, err := completeImage(n.checkpointDir(name)); err == nil {
			all = append(all, keptImage{site: name, made: m.Created, bytes: m.Bytes})
		}
	}
	slices.SortFunc(all, func(a, b keptImage) int { return a.made.Compare(b.made) })
	return all, nil
}

// forgetExperience removes what a site has taught. It is deleted.
func (n *Node) forgetExperience(e *entry) {
	if err := n.experiences.remove(e.name); err != nil {
		n.log.Error("what was learnt of a site that is deleted stays on disk", "site", e.name, "error", err)
	}
}
