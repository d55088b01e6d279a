package folders

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/file"
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
		{"arrivals", 0, "older arrivals are lost"},
		{"schedule", 0, "what sites missed while no daemon ran is not run"},
		{"checkpoints", 0, "checkpointed sites start cold"},
		{"replicas", 0, noSites},
		{"volumes", 0, "named volumes are filled from their images again"},
		{"volumes/.tmp", 0, "nothing is lost"},
		{"init", 0, "nothing is lost"},
		{"logs", 0, "older logs are lost"},
		{"plans.json", file.Small, "what the pauses of all sites have taught is learnt anew"},
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

// Damage is something in one of the node's folders that is not what it has to be.
type Damage struct {
	Root, Path string
	Why        error
	Lost       string // what the node goes on without when it is moved away
}

// Damaged looks for such places. The daemon's locks are held.
func Damaged(cfg config.Config) []Damage {
	var out []Damage
	for root, places := range map[string][]place{cfg.StateDir: statePlaces, cfg.RunDir: runPlaces} {
		for _, p := range places {
			path := filepath.Join(root, p.name)
			if _, err := os.Stat(path); p.name == "volumes" && errors.Is(err, fs.ErrNotExist) {
				continue // at most a link to a disk that is not there yet: data, no damage
			}
			err := file.CheckDir(path)
			if p.most > 0 {
				err = file.Check(path, p.most)
			}
			if errors.Is(err, file.ErrDamaged) {
				out = append(out, Damage{root, path, err, p.lost})
			}
		}
	}
	// A socket elsewhere than in the run folder is not the node's to move.
	st, err := os.Lstat(cfg.Socket)
	if err == nil && st.Mode().Type() != fs.ModeSocket && filepath.Dir(cfg.Socket) == filepath.Clean(cfg.RunDir) {
		out = append(out, Damage{cfg.RunDir, cfg.Socket, fmt.Errorf("%s is not a socket but %s", cfg.Socket, st.Mode()), "nothing is lost"})
	}
	return out
}
