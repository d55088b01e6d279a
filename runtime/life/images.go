package life

import (
	"fmt"
	"os"
	"path/filepath"
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
		l.tellDropped(reason)
	}
}

func (l *Live) tellDropped(reason string) {
	l.Host.Tell(event.Event{Site: l.Name, Kind: event.CheckpointDropped, Reason: reason})
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
