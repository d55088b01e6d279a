package life

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"sync"
	"time"

	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/file"
)

// What is quarantined.
const (
	BadFile    = "file"
	BadReplica = "replica"
	BadSite    = "site"
	BadPanic   = "panic" // of no site
)

// Quarantine is what this daemon has found damaged. The node goes on without it;
// events, lists and metrics tell of it.
type Quarantine struct {
	mu     sync.Mutex
	counts map[string]int
	untold []event.Event    // from before there was a log of them
	sites  map[string]error // by name: those without a record that can be read
}

func (q *Quarantine) count(what string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.counts == nil {
		q.counts = map[string]int{BadFile: 0, BadReplica: 0, BadSite: 0, BadPanic: 0}
	}
	if what != "" {
		q.counts[what]++
	}
}

// Counted is how often, by what.
func (q *Quarantine) Counted() map[string]int {
	q.count("")
	q.mu.Lock()
	defer q.mu.Unlock()
	return maps.Clone(q.counts)
}

// AddSite notes a site that cannot be served.
func (q *Quarantine) AddSite(name string, why error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.sites == nil {
		q.sites = map[string]error{}
	}
	q.sites[name] = why
}

// TakeSite takes one out that was applied anew or deleted; false: there is none.
func (q *Quarantine) TakeSite(name string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	_, there := q.sites[name]
	delete(q.sites, name)
	return there
}

// Sites are those that cannot be served, and why.
func (q *Quarantine) Sites() map[string]error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return maps.Clone(q.sites)
}

// Quarantined tells that something was found damaged, and what became of it.
func (h *Host) Quarantined(what string, ev event.Event) {
	h.Quarantine.count(what)
	ev.Kind, ev.Time = event.Quarantined, time.Now()
	h.Log.Error("quarantined", "what", what, "site", ev.Site, "replica", ev.Replica, "reason", ev.Reason, "so", ev.Text)
	if h.Eventlog == nil {
		h.Quarantine.mu.Lock()
		defer h.Quarantine.mu.Unlock()
		h.Quarantine.untold = append(h.Quarantine.untold, ev)
		return
	}
	h.Tell(ev)
}

// TellUntold tells what was found before the log of events was open.
func (h *Host) TellUntold() {
	h.Quarantine.mu.Lock()
	untold := h.Quarantine.untold
	h.Quarantine.untold = nil
	h.Quarantine.mu.Unlock()
	for _, ev := range untold {
		h.Tell(ev)
	}
}

// MoveAside moves a damaged file or folder below root into root's quarantine.
// lost says what the node goes on without. One that is gone somebody else has found
// damaged as well, and told of.
func (h *Host) MoveAside(root, path, siteName string, why error, lost string) {
	to, err := file.Quarantine(path, filepath.Join(root, "quarantine"))
	if to == "" && errors.Is(err, fs.ErrNotExist) {
		return
	}
	text := fmt.Sprintf("it is in %s now; %s", to, lost)
	if to == "" {
		text = fmt.Sprintf("it could not be moved away (%v): do that by hand", err)
	}
	h.Quarantined(BadFile, event.Event{Site: siteName, Reason: why.Error(), Text: text})
}

// QuarantineReplica notes in what is shown of the site that a replica of it was
// not adopted.
func (l *Live) QuarantineReplica(replica string, why error) {
	now := time.Now()
	h := l.past()
	h.Decision = &event.Decision{Time: now, Action: event.Quarantined, Reason: why.Error()}
	h.Failure = &event.Failure{Time: now, Message: fmt.Sprintf("replica %s was quarantined: %v", replica, why)}
}
