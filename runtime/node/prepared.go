package node

import (
	"encoding/json"
	"errors"
	"io/fs"

	"github.com/fcnode/fcnode/internal/file"
	"github.com/fcnode/fcnode/runtime/site"
)

// prepareAgain has those prepared in the background that were so for the last
// daemon.
func (n *Node) prepareAgain() {
	b, err := file.Read(n.PreparedFile(), file.Small)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var names []string
	if err == nil {
		err = json.Unmarshal(b, &names)
	}
	if err != nil {
		n.MoveAside(n.Cfg.StateDir, n.PreparedFile(), "", err, "sites are prepared again after their next wake")
		return
	}
	for _, name := range names {
		e, err := n.table.ByName(name)
		if err != nil {
			continue // deleted
		}
		if err := e.WakeUp(site.PrepareAsked{}, nil); err != nil {
			n.Log.Warn("a site is not prepared again", "site", name, "error", err)
		}
	}
}
