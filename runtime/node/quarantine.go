package node

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fcnode/fcnode/internal/file"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/store"
)

// What is quarantined.
const (
	badFile    = "file"
	badReplica = "replica"
	badSite    = "site"
)

// quarantine is what this daemon has found damaged. The node goes on without it;
// events, lists and metrics tell of it.
type quarantine struct {
	mu     sync.Mutex
	counts map[string]int
	untold []api.Event      // from before there was a journal
	sites  map[string]error // by name: those without a record that can be read
}

func (q *quarantine) count(what string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.counts == nil {
		q.counts = map[string]int{badFile: 0, badReplica: 0, badSite: 0}
	}
	if what != "" {
		q.counts[what]++
	}
}

func (q *quarantine) counted() map[string]int {
	q.count("")
	q.mu.Lock()
	defer q.mu.Unlock()
	return maps.Clone(q.counts)
}

// addSite notes a site that cannot be served.
func (q *quarantine) addSite(name string, why error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.sites == nil {
		q.sites = map[string]error{}
	}
	q.sites[name] = why
}

// takeSite forgets one that was applied anew or deleted; false: there is none.
func (q *quarantine) takeSite(name string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	_, there := q.sites[name]
	delete(q.sites, name)
	return there
}

// views are the sites that cannot be served, for people.
func (q *quarantine) views() map[string]api.Site {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := make(map[string]api.Site, len(q.sites))
	for name, why := range q.sites {
		out[name] = api.Site{
			Name: name, Tier: api.TierCold, Phase: api.PhaseQuarantined, Replicas: []api.Replica{},
			Decision: &api.Decision{Action: "quarantined", Reason: why.Error()},
			Error:    &api.SiteError{Message: why.Error() + "; apply its spec again, or delete it"},
		}
	}
	return out
}

// quarantined tells that something was found damaged, and what became of it.
func (n *Node) quarantined(what string, ev api.Event) {
	n.quarantine.count(what)
	ev.Kind, ev.Time = "quarantined", time.Now()
	n.log.Error("quarantined", "what", what, "site", ev.Site, "replica", ev.Replica, "reason", ev.Reason, "so", ev.Text)
	if n.journal == nil {
		n.quarantine.mu.Lock()
		defer n.quarantine.mu.Unlock()
		n.quarantine.untold = append(n.quarantine.untold, ev)
		return
	}
	n.journalEvent(ev)
}

// tellUntold journals what was found before the journal was open.
func (n *Node) tellUntold() {
	n.quarantine.mu.Lock()
	untold := n.quarantine.untold
	n.quarantine.untold = nil
	n.quarantine.mu.Unlock()
	for _, ev := range untold {
		n.journalEvent(ev)
	}
}

// moveAside moves a damaged file or folder below root into root's quarantine.
// lost says what the node goes on without.
func (n *Node) moveAside(root, path, siteName string, why error, lost string) {
	to, err := file.Quarantine(path, filepath.Join(root, "quarantine"))
	text := fmt.Sprintf("it is in %s now; %s", to, lost)
	if to == "" {
		text = fmt.Sprintf("it could not be moved away (%v): do that by hand", err)
	}
	n.quarantined(badFile, api.Event{Site: siteName, Reason: why.Error(), Text: text})
}

// place is where the node expects a file or a folder, or nothing.
type place struct {
	name string
	most int64  // bytes; 0: it is a folder
	lost string // what the node goes on without
}

const (
	unbounded = 1 << 62
	noSites   = "its sites are started anew"
)

// statePlaces and runPlaces are all places whose damage would keep a daemon from
// starting. The state file looks after itself.
var (
	statePlaces = []place{
		{"events", 0, "older events are lost"},
		{"events/events.jsonl", 64 << 20, "older events are lost"},
		{"events/events.1.jsonl", 64 << 20, "older events are lost"},
		{"images", 0, "images are unpacked again"},
		{"images/l", 0, "images are unpacked again"},
		{"images/images", 0, "images are unpacked again"},
		{"images/tmp", 0, "nothing is lost"},
		{"images/archives", 0, "nothing is lost"},
		{"images/lock", unbounded, "nothing is lost"},
		{"experience", 0, "what was learnt of sites is learnt anew"},
		{"checkpoints", 0, "checkpointed sites start cold"},
		{"replicas", 0, noSites},
		{"logs", 0, "older logs are lost"},
		{"prepared.json", file.Small, "sites are prepared again after their next wake"},
	}
	runPlaces = []place{
		{"replicas", 0, noSites},
		{"rootfs", 0, "nothing is lost"},
		{"libcontainer", 0, "there is no exec in sites until they are started anew"},
		{"system", 0, "nothing is lost"},
		{"system/proc", 0, "nothing is lost"},
		{"system/dev", 0, "nothing is lost"},
		{"system/sys", 0, "nothing is lost"},
		{"sink", unbounded, "the sink is made anew"},
	}
)

// clearPlaces moves away what is not what it has to be. The daemon's locks are held.
func (n *Node) clearPlaces() {
	for root, places := range map[string][]place{n.cfg.StateDir: statePlaces, n.cfg.RunDir: runPlaces} {
		for _, p := range places {
			path := filepath.Join(root, p.name)
			err := file.CheckDir(path)
			if p.most > 0 {
				err = file.Check(path, p.most)
			}
			if errors.Is(err, file.ErrDamaged) {
				n.moveAside(root, path, "", err, p.lost)
			}
		}
	}
	n.clearSocket()
}

// clearSocket moves away what is in the place of the API's socket in the run
// folder. One elsewhere is not the node's to move.
func (n *Node) clearSocket() {
	path := n.cfg.Socket
	st, err := os.Lstat(path)
	if err == nil && st.Mode().Type() != fs.ModeSocket && filepath.Dir(path) == filepath.Clean(n.cfg.RunDir) {
		n.moveAside(n.cfg.RunDir, path, "", fmt.Errorf("%s is not a socket but %s", path, st.Mode()), "nothing is lost")
	}
}

// quarantineReplica tells of a replica of an earlier daemon that was not adopted.
func (n *Node) quarantineReplica(q container.Quarantined) {
	siteName, _, _ := cutLast(q.ID, "-")
	text := "what belonged to it has ended; the site's next visitor gets a fresh replica"
	if q.Files != "" {
		text += "; its record is in " + q.Files
	}
	if q.ID == "" {
		text = "a reboot ends what no signal can end"
	}
	n.quarantined(badReplica, api.Event{Site: siteName, Replica: q.ID, Reason: q.Why.Error(), Text: text})
	e, err := n.byName(siteName)
	if err != nil {
		return // of no site of this node
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	h := e.past()
	h.decision = &api.Decision{Time: now, Action: "quarantined", Reason: q.Why.Error()}
	h.failure = &api.SiteError{Time: now, Message: fmt.Sprintf("replica %s was quarantined: %v", q.ID, q.Why)}
}

// tellRecovered tells that the state file was damaged.
func (n *Node) tellRecovered(r *store.Recovery) {
	if r == nil {
		return
	}
	text := fmt.Sprintf("its copy of %s with %d sites took its place: apply or delete again what was applied or deleted since", r.Made.Format(time.RFC3339), r.Sites)
	if r.Files != "" {
		text += "; the damaged file is " + r.Files
	}
	n.quarantined(badFile, api.Event{Reason: r.Why.Error(), Text: text})
}
