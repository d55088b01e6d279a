package node

import (
	"context"
	"path/filepath"

	"github.com/fcnode/fcnode/runtime/schedule"
)

// schedule runs the commands of sites on time.
func (n *Node) schedule(ctx context.Context) {
	clock := schedule.New(schedule.Options{
		Dir: filepath.Join(n.Cfg.StateDir, "schedule"), Go: n.Work.Go, Tell: n.Tell, Log: n.Log,
		Sites: func() (out []schedule.Site) {
			for _, e := range n.table.All() {
				if s, has := e.Scheduled(); has {
					out = append(out, s)
				}
			}
			return out
		},
	})
	clock.Sweep()
	clock.Run(ctx)
}
