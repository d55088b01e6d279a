package node

import (
	"errors"
	"os"
	"time"

	"github.com/fcnode/fcnode/bpf"
)

// resolversEvery is how soon a change of the node's name servers is noticed.
const resolversEvery = time.Minute

func (n *Node) followResolvers() {
	if err := n.table.SyncRules(); err != nil {
		n.Log.Error("the network rules are not those of the node's name servers", "error", err)
	}
}

// readRefusals takes what sites were refused from the data path.
func (n *Node) readRefusals(r *bpf.RefusalReader) {
	for {
		f, err := r.Read()
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			n.Log.Error("a refusal of the data path cannot be read", "error", err)
			continue
		}
		n.table.Refused(f)
	}
}
