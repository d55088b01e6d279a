package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/apparmor"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/folders"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/priority"
)

// Teardown takes everything away that a daemon has left running: replicas, the
// data path, the device with its routes, cgroups and the run directory. What is
// on disk stays, unless purge. No daemon may run: folders.ErrSecondDaemon.
func Teardown(ctx context.Context, cfg config.Config, log *slog.Logger, purge bool) error {
	locks, err := folders.Lock(ctx, cfg, false)
	if err != nil {
		return err
	}
	defer locks.Release()
	if cfg.CgroupRoot, err = cgroup.Root(cfg.CgroupRoot); err != nil {
		return err
	}
	parent, err := cgroup.OpenParent(cfg.CgroupRoot)
	if err != nil {
		return err
	}
	left, err := parent.Names()
	if err != nil {
		return err
	}
	var errs []error
	// Replicas may have outlived the pins.
	if _, err := os.Lstat(cfg.PinDir); !errors.Is(err, fs.ErrNotExist) || len(left) > 0 {
		n := &Node{Host: &life.Host{Cfg: cfg, Log: log, Ctx: ctx, Now: bpf.Now}, threads: priority.Threads{Log: log}}
		n.Cfg.Uplinks = nil // some may be gone; setting up without them detaches from all that are left
		err := n.open()
		if errors.Is(err, bpf.ErrIncompatible) { // maps of another version or size: nothing in them is needed here
			if err = errors.Join(n.shut(), bpf.RemoveMaps(cfg.PinDir)); err == nil {
				err = n.open()
			}
		}
		if err != nil {
			return errors.Join(fmt.Errorf("open what is to be taken away: %w", err), n.shut())
		}
		errs = append(errs, n.endContainers(ctx), n.net.Remove(), n.shut())
	} // else no daemon has ever come as far as to make something
	end := func(g *cgroup.Group) error { return errors.Join(g.KillAll(ctx), g.Remove()) } // processes of which no record tells
	errs = append(errs, bpf.Remove(cfg.PinDir), parent.Clear(end), os.RemoveAll(cfg.RunDir))
	if purge {
		errs = append(errs, folders.Remove(cfg.StateDir), apparmor.Unload())
	} else {
		errs = append(errs, os.RemoveAll(filepath.Join(cfg.StateDir, "replicas")))
	}
	return errors.Join(errs...)
}

// takeBack takes away what the first daemon of a node has made before it found
// that it cannot serve. A later one leaves everything as it is: sites may be
// running on it.
func (n *Node) takeBack() error {
	var errs []error
	if n.net != nil {
		errs = append(errs, n.net.Remove())
	}
	errs = append(errs, n.shut(), bpf.Remove(n.Cfg.PinDir))
	parent, err := cgroup.OpenParent(n.Cfg.CgroupRoot)
	if err == nil {
		err = parent.Clear((*cgroup.Group).Remove)
	}
	if err := errors.Join(append(errs, err)...); err != nil {
		return fmt.Errorf("taking back what was made until then: %w", err)
	}
	return nil
}

func (n *Node) endContainers(ctx context.Context) error {
	containers, _, err := n.containers.Adopt(ctx) // what is quarantined has ended, or the cgroup that is left tells
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range containers {
		err := c.Kill(ctx)
		if err == nil {
			err = n.containers.Remove(c.ID())
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
