//go:build linux

package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"golang.org/x/sys/unix"
)

// CheckpointOptions say what a checkpoint is to be used for.
type CheckpointOptions struct {
	SpecDigest, ImageDigest string // as Spec has them at the restore
	Clonable                bool   // good for many restores: see package criu
	Warm                    string // what the application has done by now, for people
}

// checkpointed is the image that a container's processes were dumped into.
type checkpointed struct{ dir, id string }

// CRIU is the program that checkpoints and restores, or criu.ErrUnavailable with the reason why
// there is none. It is looked for once.
func (m *Manager) CRIU(ctx context.Context) (*criu.Tool, error) {
	m.criuMu.Lock()
	defer m.criuMu.Unlock()
	if m.criu == nil {
		tool, err := criu.Find(ctx, m.opts.CRIU)
		if err != nil {
			return nil, err
		}
		m.criu = tool
	}
	return m.criu, nil
}

// Checkpoint makes an image of the container's processes at dir. They are frozen for it and
// stay so, alive. What comes next is up to the caller:
//
//   - Kill, then Manager.Remove, which puts the writable layer into the
//     checkpoint. Only then is it complete and can be restored.
//   - or criu.Remove(dir), then Thaw: the processes go on. They must not run
//     while their image is there.
//
// Connections are not in the image: a restored application sees them
// closed. After an error there is no image; the processes are frozen and unharmed.
// Errors: criu.ErrUnavailable, criu.ErrDump with what CRIU has to say.
func (c *Container) Checkpoint(ctx context.Context, dir string, opts CheckpointOptions) (criu.Manifest, error) {
	c.dumped.Store(nil)
	m, err := c.checkpoint(ctx, dir, opts)
	if err != nil {
		return m, fmt.Errorf("making a checkpoint of container %s: %w", c.ID(), err)
	}
	c.dumped.Store(&checkpointed{dir: dir, id: m.ID})
	return m, nil
}

func (c *Container) checkpoint(ctx context.Context, dir string, opts CheckpointOptions) (criu.Manifest, error) {
	var m criu.Manifest
	tool, err := c.m.CRIU(ctx)
	if err != nil {
		return m, err
	}
	if _, ended := c.Exit(); ended {
		return m, ErrNotRunning
	}
	if err := c.group.Freeze(ctx); err != nil {
		return m, err
	}
	if m.Machine, err = criu.ThisMachine(tool); err != nil {
		return m, err
	}
	plan, err := c.plan()
	if err != nil {
		return m, err
	}
	draft, err := criu.NewDraft(dir)
	if err != nil {
		return m, err
	}
	m.Site, m.Replica, m.SpecDigest, m.ImageDigest = c.Site(), c.ID(), opts.SpecDigest, opts.ImageDigest
	m.Clonable, m.Warm = opts.Clonable, opts.Warm
	m, err = c.dump(ctx, tool, draft, plan, m)
	if err != nil {
		// CRIU may have been killed half-way: it thaws to work.
		err = errors.Join(err, c.refreeze(), draft.Drop())
	}
	return m, err
}

func (c *Container) dump(ctx context.Context, tool *criu.Tool, draft *criu.Draft, plan *plan, m criu.Manifest) (criu.Manifest, error) {
	session, err := tool.Start(criu.SessionOptions{})
	if err != nil {
		return m, err
	}
	err = session.Dump(ctx, criu.DumpOptions{
		Pid: c.init.Pid, Images: draft.Images(), FreezeCgroup: c.group.Path(), External: plan.external,
	})
	if err := errors.Join(err, session.Close()); err != nil {
		return m, err
	}
	if m.Restore, err = json.Marshal(plan.recipe); err != nil {
		return m, fmt.Errorf("encoding a checkpoint's manifest: %w", err)
	}
	return draft.Finish(m)
}

// refreeze freezes the container after a dump that went wrong.
func (c *Container) refreeze() error {
	ctx, cancel := context.WithTimeout(context.Background(), lostTimeout)
	defer cancel()
	err := c.group.Freeze(ctx)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil // it has ended
	}
	return err
}

// completeCheckpoint puts the writable layer of a container that has ended into
// the image of its processes, if they have not run since the dump: they were killed.
func (c *Container) completeCheckpoint() error {
	d := c.dumped.Load()
	exit, ended := c.Exit()
	if d == nil || !ended || exit.Signal != "SIGKILL" || exit.OOMKilled {
		return nil
	}
	return criu.Complete(d.dir, d.id, c.state.Upper)
}

// recipe is what a restore needs to know besides the image: the part of the
// manifest that is this package's.
type recipe struct {
	Binds   []wire.Bind     `json:"binds"`
	Streams wire.Streams    `json:"streams"`
	Nulls   []string        `json:"nulls,omitempty"`
	Lib     json.RawMessage `json:"lib"`
}

// plan is what is not to be put into an image.
type plan struct {
	recipe   recipe
	external []string // as CRIU wants it
}

func (c *Container) plan() (*plan, error) {
	p := &plan{}
	if err := wire.ReadFile(c.m.dir(c.ID()), wire.StreamsFile, &p.recipe.Streams); err != nil {
		return nil, fmt.Errorf("finding the pipes of its output (a container started by an older fcnode has no record of them): %w", err)
	}
	var err error
	if p.recipe.Lib, err = os.ReadFile(filepath.Join(c.m.libDir(c.state.Cgroup), "state.json")); err != nil {
		return nil, fmt.Errorf("reading libcontainer's record: %w", err)
	}
	var netns unix.Stat_t
	if err := unix.Stat(c.NetnsPath(), &netns); err != nil {
		return nil, fmt.Errorf("finding its network namespace: %w", err)
	}
	p.external = append(p.external, fmt.Sprintf("net[%d]:%s", netns.Ino, criu.NetKey))
	mounts, err := mountsOf(c.init.Pid)
	if err != nil {
		return nil, err
	}
	for _, m := range mounts {
		if kind := m.bindKind(); kind != "" {
			p.recipe.Binds = append(p.recipe.Binds, wire.Bind{Key: m.point, Kind: kind})
			p.external = append(p.external, "mnt["+m.point+"]:"+m.point)
		}
	}
	pids, err := c.group.Procs()
	if err != nil {
		return nil, err
	}
	p.recipe.Nulls = strayNulls(pids, mounts)
	p.external = append(p.external, p.recipe.Nulls...)
	return p, nil
}
