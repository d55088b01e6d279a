package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/runtime/folders"
	"github.com/fcnode/fcnode/runtime/store"
)

// stateFile keeps the sites.
func stateFile(cfg config.Config) string { return filepath.Join(cfg.StateDir, "state.db") }

// ErrReplicas means that sites run, and would be other sites' replicas.
var ErrReplicas = errors.New("replicas of the sites that are there are running; fcnode teardown ends them")

// ImportState puts an exported state, which is called name in errors, in the place
// of the node's, and says how many sites it has. No daemon may run:
// folders.ErrSecondDaemon.
func ImportState(ctx context.Context, cfg config.Config, name string, text []byte, replace bool) (sites int, err error) {
	locks, err := folders.Lock(ctx, cfg, false)
	if err != nil {
		return 0, err
	}
	defer locks.Release()
	replicas, err := os.ReadDir(filepath.Join(cfg.RunDir, wire.ReplicasDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("look for replicas that run: %w", err)
	}
	if len(replicas) > 0 {
		return 0, ErrReplicas
	}
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return 0, fmt.Errorf("make the state folder: %w", err)
	}
	return store.Import(stateFile(cfg), name, text, replace)
}
