//go:build linux

package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"golang.org/x/sys/unix"
)

// Adopt takes over what an earlier daemon has left: containers that run, also
// such that were just being started, and containers that have ended (their Exit
// is known at once; Remove them). What never came to run is removed. Call it
// once, before the first Start.
//
// A daemon may have died at any instant:
//
//   - before state.json was written: no runner was asked for anything; its pair
//     of shim and runner has ended with the daemon.
//   - after that, before the request was sent: the same, and the shim that
//     state.json names is gone (or is just going).
//   - while the runner was at work: runner and shim go on. The shim is alive
//     until it has written exit.json; init.json or the end of the shim says what
//     came of it.
//   - with the shim killed as well: init.json or the cgroup names what to kill.
func (m *Manager) Adopt(ctx context.Context) ([]*Container, error) {
	entries, err := os.ReadDir(replicasDir(m.opts.RunDir))
	if err != nil {
		return nil, fmt.Errorf("looking for containers of an earlier daemon: %w", err)
	}
	var found []*Container
	var errs []error
	for _, entry := range entries {
		id := entry.Name()
		if !m.reserve(id) {
			continue // started by this Manager
		}
		c, err := m.adoptOne(ctx, id)
		if err != nil {
			errs = append(errs, fmt.Errorf("adopting container %s: %w", id, err))
		}
		m.release(id, c)
		if c != nil {
			found = append(found, c)
		}
	}
	return found, errors.Join(append(errs, m.sweep())...)
}

// adoptOne gives nil where nothing ever ran.
func (m *Manager) adoptOne(ctx context.Context, id string) (*Container, error) {
	dir := m.dir(id)
	var state wire.State
	if err := wire.ReadFile(dir, wire.StateFile, &state); errors.Is(err, os.ErrNotExist) {
		return nil, os.RemoveAll(dir) // nothing was asked for
	} else if err != nil {
		return nil, err
	}
	if state.Version > wire.Version {
		m.log.Warn("a container of a newer fcnode is adopted: what is only known there is not heeded", "container", id,
			"its version", state.Version, "this version", wire.Version)
	}
	shim, err := state.Shim.Open()
	if err != nil && !errors.Is(err, wire.ErrGone) {
		return nil, err
	}
	if shim != nil {
		defer shim.Close() // a pidfd
		if err := waitDecided(ctx, dir, shim); err != nil {
			return nil, err
		}
	}
	return m.adoptDecided(ctx, state)
}

// adoptDecided adopts a container whose start is over, one way or the other.
func (m *Manager) adoptDecided(ctx context.Context, state wire.State) (*Container, error) {
	dir := m.dir(state.ID)
	var init wire.Process
	initErr := wire.ReadFile(dir, wire.InitFile, &init)
	if initErr == nil {
		c, err := m.adopt(state, init, nil)
		if err == nil {
			// An exec ends with its daemon, unless its runner was killed as well.
			err = errors.Join(c.endDump(ctx), c.group.EndChildren(execEndTime))
		}
		return c, err
	}
	if !errors.Is(initErr, os.ErrNotExist) {
		return nil, initErr
	}
	// It never ran, but a shim that was killed may have left a half-made one.
	group := m.parent.Open(state.Cgroup)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lostTimeout)
	defer cancel()
	if err := group.KillAll(ctx); err != nil {
		return nil, err
	}
	return nil, errors.Join(group.Remove(), os.RemoveAll(m.libDir(state.Cgroup)), removeAll(dir, state.Upper, state.Work))
}

// waitDecided waits until the start of a container has come to an end: there is
// an init, or an exit, or no shim any more.
func waitDecided(ctx context.Context, dir string, shim *os.File) error {
	watch, err := watchDir(dir)
	if err != nil {
		return err
	}
	defer watch.Close() // an inotify descriptor
	over := make(chan error, 1)
	go func() { over <- wire.WaitEnd(shim) }()
	for {
		for _, name := range []string{wire.InitFile, wire.ExitFile} {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				return nil
			}
		}
		changed := make(chan error, 1)
		go func() {
			_, err := watch.Read(make([]byte, 4096))
			changed <- err
		}()
		select {
		case err := <-over:
			return err
		case err := <-changed:
			if err != nil {
				return fmt.Errorf("watching %s: %w", dir, err)
			}
		case <-ctx.Done():
			return fmt.Errorf("waiting for a start that an earlier daemon asked for: %w", context.Cause(ctx))
		}
	}
}

// watchDir gives a descriptor that becomes readable when a file is renamed into dir.
func watchDir(dir string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watching %s: %w", dir, err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MOVED_TO); err != nil {
		return nil, errors.Join(fmt.Errorf("watching %s: %w", dir, err), f.Close())
	}
	return f, nil
}

// sweep removes the empty cgroups of earlier daemons: those of shims that were
// killed before they had a request.
func (m *Manager) sweep() error {
	names, err := m.parent.Names()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if strings.HasPrefix(name, m.prefix) {
			continue // one that is just being made is empty too
		}
		err := m.parent.Open(name).Remove()
		if errors.Is(err, unix.EBUSY) {
			continue // a container that was adopted, or a shim that is just ending
		}
		errs = append(errs, err, os.RemoveAll(m.libDir(name)))
	}
	return errors.Join(errs...)
}
