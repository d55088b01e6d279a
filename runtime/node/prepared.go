package node

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"

	"github.com/fcnode/fcnode/runtime/site"
)

// prepareAgain has those prepared in the background that were so for the last
// daemon.
func (n *Node) prepareAgain() {
	b, err := os.ReadFile(n.PreparedFile())
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var names []string
	if err == nil {
		err = json.Unmarshal(b, &names)
	}
	if err != nil {
		n.Log.Warn("it is not known which sites were prepared; they are again when they were woken next", "error", err)
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
