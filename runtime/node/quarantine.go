package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fcnode/fcnode/internal/file"
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/store"
)

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
	for root, places := range map[string][]place{n.Cfg.StateDir: statePlaces, n.Cfg.RunDir: runPlaces} {
		for _, p := range places {
			path := filepath.Join(root, p.name)
			err := file.CheckDir(path)
			if p.most > 0 {
				err = file.Check(path, p.most)
			}
			if errors.Is(err, file.ErrDamaged) {
				n.MoveAside(root, path, "", err, p.lost)
			}
		}
	}
	n.clearSocket()
}

// clearSocket moves away what is in the place of the API's socket in the run
// folder. One elsewhere is not the node's to move.
func (n *Node) clearSocket() {
	path := n.Cfg.Socket
	st, err := os.Lstat(path)
	if err == nil && st.Mode().Type() != fs.ModeSocket && filepath.Dir(path) == filepath.Clean(n.Cfg.RunDir) {
		n.MoveAside(n.Cfg.RunDir, path, "", fmt.Errorf("%s is not a socket but %s", path, st.Mode()), "nothing is lost")
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
	n.Quarantined(life.BadReplica, event.Event{Site: siteName, Replica: q.ID, Reason: q.Why.Error(), Text: text})
	e, err := n.table.ByName(siteName)
	if err != nil {
		return // of no site of this node
	}
	e.With(func(l *life.Live) { l.QuarantineReplica(q.ID, q.Why) })
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
	n.Quarantined(life.BadFile, event.Event{Reason: r.Why.Error(), Text: text})
}
