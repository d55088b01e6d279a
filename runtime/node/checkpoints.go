package node

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/life"
)

// findCheckpoints looks at what is on disk when the daemon starts: what belongs to
// nobody, or lacks something, is removed.
func (n *Node) findCheckpoints() {
	names, err := criu.List(n.CheckpointsDir())
	if err != nil {
		n.Log.Error("checkpointed sites start cold", "error", err)
	}
	for _, name := range names {
		// that it is what it seems to be is found out by its restore
		_, err := os.Stat(filepath.Join(n.CheckpointDir(name), criu.UpperDir))
		e := n.table.Sites[name]
		if err == nil && e != nil {
			e.With(func(l *life.Live) { l.Image = true })
			continue
		}
		if err == nil {
			err = errors.New("its site is gone")
		}
		n.Log.Info("removing a checkpoint", "site", name, "why", err)
		n.RemoveImage(name)
		if e != nil {
			e.With(func(l *life.Live) { l.TellDropped(err.Error()) })
		}
	}
}
