package sites

import (
	"context"
	"path/filepath"

	"github.com/fcnode/fcnode/runtime/schedule"
)

// RunSchedules runs the commands of sites on time, until the context ends.
func RunSchedules(ctx context.Context, t *Table) {
	clock := schedule.New(schedule.Options{
		Dir: filepath.Join(t.host.Cfg.StateDir, "schedule"), Go: t.host.Go, Tell: t.host.Tell, Log: t.host.Log,
		Guard: func(f func()) { t.host.Guard(nil, f) },
		Sites: func() (out []schedule.Site) {
			for _, e := range t.All() {
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
