package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/container/mounts"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/runtime/thread"
	"github.com/fcnode/fcnode/runtime/volume"
	"golang.org/x/sys/unix"
)

// CheckpointOptions say what a checkpoint is to be used for.
type CheckpointOptions struct {
	SpecDigest, ImageDigest string    // as Spec has them at the restore
	Clonable                bool      // good for many restores: see package criu
	Warm                    string    // what the application has done by now, for people
	Born                    time.Time // when its processes were started
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
// closed. CRIU is not interrupted: when ctx ends the call still takes until the dump is
// over. After an error there is no image; the processes are frozen and unharmed, except that they
// are killed after criu.ErrHung. Errors: criu.ErrUnavailable, criu.ErrDump with what
// CRIU has to say.
func (c *Container) Checkpoint(ctx context.Context, dir string, opts CheckpointOptions) (criu.Manifest, error) {
	c.dumped.Store(nil)
	m, err := c.checkpoint(ctx, dir, opts)
	if err != nil {
		return m, fmt.Errorf("making a checkpoint of container %s: %w", c.Name(), err)
	}
	c.dumped.Store(&checkpointed{dir: dir, id: m.ID})
	_ = c.m.expectRestores(ctx, c.state.IDs != 0) // CRIU was there a moment ago
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
	if err := c.awaitMaker(ctx); err != nil {
		return m, err
	}
	if err := c.group.Freeze(ctx); err != nil {
		return m, err
	}
	if m.Machine, err = criu.ThisMachine(tool); err != nil {
		return m, err
	}
	pids, err := c.group.Procs()
	if err != nil {
		return m, err
	}
	if err := c.refuse(pids); err != nil {
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
	m.Site, m.Replica, m.SpecDigest, m.ImageDigest = c.Site(), c.Name(), opts.SpecDigest, opts.ImageDigest
	m.Clonable, m.Warm, m.Born = opts.Clonable, opts.Warm, opts.Born
	m, err = c.dump(ctx, tool, draft, plan, m)
	if errors.Is(err, criu.ErrHung) {
		err = errors.Join(err, c.signal(unix.SIGKILL))
	}
	if err != nil {
		err = errors.Join(err, c.refreeze(), draft.Drop())
	}
	return m, err
}

// awaitMaker waits for the end of what has made the container, the runner or CRIU. It
// answers a little before it ends, and must not be frozen with the container.
func (c *Container) awaitMaker(ctx context.Context) error {
	pids, err := c.group.Procs()
	if err != nil {
		return err
	}
	if frozen, err := c.group.Frozen(); err != nil || frozen {
		return err // nothing in it ends
	}
	for _, pid := range c.makers(pids) {
		maker, err := wire.FindProcess(pid)
		if err == nil {
			err = waitGone(ctx, maker)
		}
		if err != nil && !errors.Is(err, wire.ErrGone) {
			return err
		}
	}
	return nil
}

// makers are those of the processes that the shim has started beside the application: what has made the
// container, on its way out.
func (c *Container) makers(pids []int) []int {
	return slices.DeleteFunc(strangers(pids, c.init.Pid), func(pid int) bool {
		parent, ok := parentOf(pid)
		return !ok || parent != c.state.Shim.Pid
	})
}

// waitGone waits until a process has ended.
func waitGone(ctx context.Context, p wire.Process) error {
	pidfd, err := p.Open()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = pidfd.Close() }) // ends the wait
	defer stop()
	err = wire.WaitEnd(pidfd)
	_ = pidfd.Close() // closed twice is fine
	if err != nil {
		return fmt.Errorf("waiting for the end of process %d: %w", p.Pid, orCause(ctx, err))
	}
	return nil
}

// refuse knows what CRIU would fail at, or get wrong, with these processes.
func (c *Container) refuse(pids []int) error {
	if _, err := os.Stat(c.lazyFile()); err == nil {
		return fmt.Errorf("%w: not all of its memory is back from the last checkpoint", criu.ErrDump)
	}
	if outside := strangers(pids, c.init.Pid); len(outside) > 0 {
		return fmt.Errorf("%w: processes were executed in it that would not be in the image: %v", criu.ErrDump, outside)
	}
	own, err := criu.OwnConnections(pids)
	if err != nil {
		return fmt.Errorf("%w: %w", criu.ErrDump, err)
	}
	if len(own) > 0 {
		return fmt.Errorf("%w: its processes are connected to each other by TCP (%s), and a checkpoint would cut that; "+
			"let them use a unix socket, or close the connection after each request", criu.ErrDump, strings.Join(own, ", "))
	}
	return nil
}

func (c *Container) dump(ctx context.Context, tool *criu.Tool, draft *criu.Draft, plan *plan, m criu.Manifest) (criu.Manifest, error) {
	session, err := c.dumper(tool)
	if err != nil {
		return m, err
	}
	rec, err := c.recordDump(session.Pid(), plan.recipe.ReadOnlyRoot)
	if err == nil {
		err = session.Dump(ctx, criu.DumpOptions{
			Pid: c.init.Pid, Images: draft.Images(), FreezeCgroup: c.group.Path(), External: plan.external,
			Patience: c.m.opts.dumpTimeout(),
		})
	}
	if err := errors.Join(err, session.Close(), c.eraseDump(rec)); err != nil {
		return m, err
	}
	if m.Restore, err = json.Marshal(plan.recipe); err != nil {
		return m, fmt.Errorf("encoding a checkpoint's manifest: %w", err)
	}
	if err := os.WriteFile(filepath.Join(draft.Images(), wire.LibFile), plan.lib, 0o600); err != nil {
		return m, fmt.Errorf("putting libcontainer's record into a checkpoint: %w", err)
	}
	if plan.recipe.Userns {
		if err := draft.Share(); err != nil {
			return m, err
		}
	}
	return draft.Finish(m)
}

// dumper starts CRIU. Of a container with a user namespace of its own it can neither dump nor
// restore a network namespace that is not that one's, but for the one it is in itself.
func (c *Container) dumper(tool *criu.Tool) (session *criu.Session, err error) {
	if c.state.IDs == 0 {
		return tool.Start(criu.SessionOptions{})
	}
	netns, err := os.Open(c.NetnsPath())
	if err != nil {
		return nil, fmt.Errorf("finding its network namespace: %w", err)
	}
	defer netns.Close() // a namespace
	err = thread.InNetns(netns, func() error {
		session, err = tool.Start(criu.SessionOptions{})
		return err
	})
	return session, err
}

func (c *Container) lazyFile() string { return filepath.Join(c.m.dir(c.ID()), wire.LazyFile) }

func (c *Container) dumpFile() string { return filepath.Join(c.m.dir(c.ID()), wire.DumpFile) }

// recordDump writes down which process dumps the container: should this daemon
// die, CRIU goes on, and freezes the container when it has finished, maybe long after
// the next daemon has thawed it. A root that is read-only is made writable for CRIU,
// which could not restore it otherwise.
func (c *Container) recordDump(pid int, readOnlyRoot bool) (wire.Dump, error) {
	rec := wire.Dump{ReadOnlyRoot: readOnlyRoot}
	var err error
	if rec.CRIU, err = wire.FindProcess(pid); err != nil {
		return rec, fmt.Errorf("starting CRIU: %w", err)
	}
	if err = wire.WriteFile(c.m.dir(c.ID()), wire.DumpFile, rec); err == nil && readOnlyRoot {
		err = mounts.RootReadOnly(c.init.Pid, false, c.state.Privileges.New)
	}
	return rec, err
}

// eraseDump undoes recordDump.
func (c *Container) eraseDump(rec wire.Dump) error {
	if rec.ReadOnlyRoot {
		if err := mounts.RootReadOnly(c.init.Pid, true, c.state.Privileges.New); err != nil && !c.hasEnded() {
			return err
		}
	}
	return os.Remove(c.dumpFile())
}

// hasEnded reports whether init is gone.
func (c *Container) hasEnded() bool {
	now, err := wire.FindProcess(c.init.Pid)
	return err != nil || now != c.init
}

// endDump waits for the end of a dump that an earlier daemon has left. CRIU is not
// killed in the middle, as that harms the processes; if it hangs, both are.
func (c *Container) endDump(ctx context.Context) error {
	var rec wire.Dump
	err := wire.ReadFile(c.m.dir(c.ID()), wire.DumpFile, &rec)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	pidfd, err := rec.CRIU.Open()
	if errors.Is(err, wire.ErrGone) {
		return c.eraseDump(rec)
	}
	if err != nil {
		return err
	}
	// The adoption, which waits for this, has a bound of its own.
	hung := time.AfterFunc(min(c.m.opts.dumpTimeout(), c.m.opts.AdoptTimeout*3/4), func() {
		c.m.log.Error("a dump hangs; ending it and the container", "container", c.ID())
		_, _ = signalProcess(pidfd, unix.SIGKILL), c.signal(unix.SIGKILL)
	})
	defer hung.Stop()
	stop := context.AfterFunc(ctx, func() { _ = pidfd.Close() }) // ends the wait
	defer stop()
	err = wire.WaitEnd(pidfd)
	_ = pidfd.Close() // closed twice is fine
	if err != nil {
		return fmt.Errorf("waiting for the end of a dump of container %s: %w", c.Name(), orCause(ctx, err))
	}
	return c.eraseDump(rec)
}

// refreeze freezes the container after a dump that went wrong: CRIU thaws it to
// work.
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
// If that fails the image is of no use, and the container can be removed all the same.
func (c *Container) completeCheckpoint() {
	d := c.dumped.Swap(nil)
	exit, ended := c.Exit()
	if d == nil || !ended || exit.Signal != "SIGKILL" || exit.OOMKilled {
		return
	}
	if err := criu.Complete(d.dir, d.id, c.state.Upper); err != nil {
		c.m.log.Error("a checkpoint is lost", "container", c.ID(), "error", errors.Join(err, criu.Remove(d.dir)))
	}
}

// recipe is what a restore needs to know besides the image: the part of the
// manifest that is this package's.
type recipe struct {
	Binds   []wire.Bind  `json:"binds"`
	Streams wire.Streams `json:"streams"`
	Owners  *wire.Owners `json:"owners,omitempty"`
	Nulls   []string     `json:"nulls,omitempty"`

	ReadOnlyRoot bool `json:"read_only_root,omitempty"`
	// Userns says that they have a user namespace of their own.
	Userns bool `json:"userns,omitempty"`
	// Privileges of its processes, which are in the image.
	Privileges Privileges `json:"privileges"`
	// Sources of its volumes, as the processes had them.
	Sources []volume.Source `json:"sources,omitempty"`
}

// SourcesOf are where the volumes of a checkpoint's processes come from, and what
// those were.
func SourcesOf(m criu.Manifest) ([]volume.Source, error) {
	var from recipe
	if err := json.Unmarshal(m.Restore, &from); err != nil {
		return nil, fmt.Errorf("reading the manifest of a checkpoint: %w", err)
	}
	return from.Sources, nil
}

// plan is what is not to be put into an image.
type plan struct {
	recipe   recipe
	external []string // as CRIU wants it
	lib      []byte   // libcontainer's record
}

func (c *Container) plan() (*plan, error) {
	userns := c.state.IDs != 0
	p := &plan{recipe: recipe{Userns: userns, Privileges: c.state.Privileges, Sources: c.sources}}
	if err := wire.ReadFile(c.m.dir(c.ID()), wire.StreamsFile, &p.recipe.Streams); err != nil {
		return nil, fmt.Errorf("finding the pipes of its output (a container started by an older fcnode has no record of them): %w", err)
	}
	var err error
	if p.recipe.Owners, err = c.owners(p.recipe.Streams); err != nil {
		return nil, err
	}
	if p.lib, err = os.ReadFile(filepath.Join(c.m.libDir(c.state.Cgroup), "state.json")); err != nil {
		return nil, fmt.Errorf("reading libcontainer's record: %w", err)
	}
	if !userns {
		var netns unix.Stat_t
		if err := unix.Stat(c.NetnsPath(), &netns); err != nil {
			return nil, fmt.Errorf("finding its network namespace: %w", err)
		}
		p.external = append(p.external, fmt.Sprintf("net[%d]:%s", netns.Ino, criu.NetKey))
	}
	seen, err := mountsOf(c.init.Pid)
	if err != nil {
		return nil, err
	}
	for _, m := range seen {
		if m.point == "/" {
			p.recipe.ReadOnlyRoot = m.readOnly
		}
		if kind := m.bindKind(userns); kind != "" {
			p.recipe.Binds = append(p.recipe.Binds, wire.Bind{Key: m.point, Kind: kind})
			p.external = append(p.external, "mnt["+m.point+"]:"+m.point)
		}
	}
	pids, err := c.group.Procs()
	if err != nil {
		return nil, err
	}
	p.recipe.Nulls = strayNulls(pids, seen)
	p.external = append(p.external, p.recipe.Nulls...)
	return p, nil
}

// owners are those of the pipes of its output, which the monitor has open.
func (c *Container) owners(streams wire.Streams) (*wire.Owners, error) {
	dir := fmt.Sprintf("/proc/%d/fd", c.state.Shim.Pid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("finding the pipes of its output: %w", err)
	}
	var owners wire.Owners
	found := 0
	for _, fd := range fds {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(dir, fd.Name()), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
			continue // closed meanwhile, or something else
		}
		base := uint32(c.state.IDs)
		owner := wire.Owner{UID: st.Uid - base, GID: st.Gid - base, Mode: st.Mode & 0o7777}
		switch st.Ino {
		case streams.Stdout:
			owners.Stdout = owner
		case streams.Stderr:
			owners.Stderr = owner
		default:
			continue
		}
		found++
	}
	if found != 2 {
		return nil, fmt.Errorf("its monitor has %d of the 2 pipes of its output open", found)
	}
	return &owners, nil
}
