package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/runtime/file"
	"github.com/fcnode/fcnode/runtime/guard"
)

// Quarantined is what an earlier daemon has left and this one cannot take over.
// Its processes are ended, or Why says that they cannot be.
type Quarantined struct {
	ID    string // of the container; "" if only a cgroup of it is known
	Why   error
	Files string // where its record is now; "" if there was none, or it could not be moved
}

// adoptAtOnce is how many containers are adopted at a time. Mostly they wait for
// processes.
const adoptAtOnce = 64

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
//
// Each container is adopted by itself: one whose record is damaged, or which
// does not come to rest in time, is quarantined, and the others are not
// concerned. An error means that ctx has ended, or that nothing could be looked at.
func (m *Manager) Adopt(ctx context.Context) ([]*Container, []Quarantined, error) {
	entries, err := os.ReadDir(replicasDir(m.opts.RunDir))
	if err != nil {
		return nil, nil, fmt.Errorf("looking for containers of an earlier daemon: %w", err)
	}
	late := fmt.Errorf("it has not come to rest within %s of the daemon's start", m.opts.AdoptTimeout)
	within, cancel := context.WithTimeoutCause(ctx, m.opts.AdoptTimeout, late)
	defer cancel()
	found, bad := m.adoptAll(within, entries)
	if err := ctx.Err(); err != nil { // nothing is bad for that
		return found, nil, fmt.Errorf("adopting containers: %w", context.Cause(ctx))
	}
	bad = append(bad, m.sweep()...)
	for i := range bad {
		if bad[i].ID == "" {
			continue
		}
		if bad[i].Files, err = file.Quarantine(m.dir(bad[i].ID), m.quarantine()); err != nil && !errors.Is(err, os.ErrNotExist) {
			bad[i].Why = errors.Join(bad[i].Why, err)
		}
		m.release(bad[i].ID, nil)
	}
	return found, bad, nil
}

// quarantine is where records go that cannot be read.
func (m *Manager) quarantine() string { return filepath.Join(m.opts.RunDir, "quarantine") }

// adoptAll adopts side by side. Who hangs in the kernel is not waited for.
func (m *Manager) adoptAll(ctx context.Context, entries []os.DirEntry) (found []*Container, bad []Quarantined) {
	type outcome struct {
		id  string
		c   *Container
		err error
	}
	over := make(chan outcome, len(entries)) // nobody may be left to receive
	places := make(chan struct{}, adoptAtOnce)
	pending := map[string]bool{}
	claims := &claims{}
	late := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { // who heeds it has answered by then
		time.AfterFunc(lostTimeout+time.Second, func() { close(late) })
	})
	defer stop()
	for _, entry := range entries {
		if !m.reserve(entry.Name()) {
			continue // started by this Manager
		}
		pending[entry.Name()] = true
		go func() {
			places <- struct{}{}
			defer func() { <-places }()
			var c *Container
			var err error
			if fault := guard.Run(func() { c, err = m.adoptOne(ctx, entry, claims) }); fault != nil {
				m.log.Error("adopting a container has panicked, which is a bug of fcnode", "container", entry.Name(), "error", fault, "stack", string(fault.Stack))
				c, err = nil, fault
			}
			over <- outcome{entry.Name(), c, err}
		}()
	}
	for len(pending) > 0 {
		select {
		case o := <-over:
			delete(pending, o.id)
			if o.err != nil {
				bad = append(bad, Quarantined{ID: o.id, Why: o.err})
				continue
			}
			m.release(o.id, o.c)
			if o.c != nil {
				found = append(found, o.c)
			}
		case <-late:
			for id := range pending {
				bad = append(bad, Quarantined{ID: id, Why: context.Cause(ctx)})
			}
			return found, bad
		}
	}
	return found, bad
}

// claims are the cgroups that records name: each may be one's only.
type claims struct {
	mu    sync.Mutex
	owner map[string]string
}

func (c *claims) take(cgroup, id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if other, taken := c.owner[cgroup]; taken {
		return fmt.Errorf("its record names cgroup %s, which is that of container %s", cgroup, other)
	}
	if c.owner == nil {
		c.owner = map[string]string{}
	}
	c.owner[cgroup] = id
	return nil
}

// adoptOne gives nil where nothing ever ran.
func (m *Manager) adoptOne(ctx context.Context, entry os.DirEntry, claims *claims) (*Container, error) {
	id := entry.Name()
	dir := m.dir(id)
	if !entry.IsDir() {
		return nil, fmt.Errorf("%s is %w: it is not a folder but %s", dir, file.ErrDamaged, entry.Type())
	}
	var state wire.State
	if err := wire.ReadFile(dir, wire.StateFile, &state); errors.Is(err, os.ErrNotExist) {
		return nil, removeUnused(dir)
	} else if err != nil {
		return nil, err
	}
	if err := m.believable(id, state); err != nil {
		return nil, fmt.Errorf("%s is %w: %w", filepath.Join(dir, wire.StateFile), file.ErrDamaged, err)
	}
	if err := claims.take(state.Cgroup, id); err != nil {
		return nil, err
	}
	if state.Version > wire.Version {
		m.log.Warn("a container of a newer fcnode is adopted: what is only known there is not heeded", "container", id,
			"its version", state.Version, "this version", wire.Version)
	}
	m.ids.mark(state.IDs)
	c, err := m.adoptRecorded(ctx, state)
	if c == nil && err == nil {
		m.ids.giveBack(state.IDs)
	}
	return c, err
}

// adoptRecorded adopts what a record that can be believed is of.
func (m *Manager) adoptRecorded(ctx context.Context, state wire.State) (*Container, error) {
	dir := m.dir(state.ID)
	shim, err := state.Shim.Open()
	if err != nil && !errors.Is(err, wire.ErrGone) {
		return nil, err
	}
	if shim != nil {
		defer shim.Close() // a pidfd
		if err := waitDecided(ctx, m.opts.AdoptTimeout/4, dir, shim); err != nil {
			return nil, err
		}
	}
	return m.adoptDecided(ctx, state)
}

// removeUnused removes the folder of a container for which nobody was asked. If
// there is more than the beginning of a record, the record was taken away.
func removeUnused(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			return fmt.Errorf("%s is %w: it has %s, but no %s", dir, file.ErrDamaged, e.Name(), wire.StateFile)
		}
	}
	return file.RemoveAll(dir)
}

// believable checks what is to be killed and removed by what the record says.
func (m *Manager) believable(id string, state wire.State) error {
	if state.ID != id {
		return fmt.Errorf("it is of container %q", state.ID)
	}
	if g := state.Cgroup; g == "" || g != filepath.Base(g) || strings.HasPrefix(g, ".") || strings.HasPrefix(g, m.prefix) {
		return fmt.Errorf("it names cgroup %q", g)
	}
	if m.opts.LayerDir == "" {
		return nil
	}
	for _, dir := range []string{state.Upper, state.Work} {
		if filepath.Dir(dir) != filepath.Join(m.opts.LayerDir, id) {
			return fmt.Errorf("it names the folder %q, which is not below %s", dir, filepath.Join(m.opts.LayerDir, id))
		}
	}
	return nil
}

// adoptDecided adopts a container whose start is over, one way or the other.
func (m *Manager) adoptDecided(ctx context.Context, state wire.State) (*Container, error) {
	dir := m.dir(state.ID)
	var init wire.Init
	initErr := wire.ReadFile(dir, wire.InitFile, &init)
	if initErr == nil {
		if err := m.belongs(init.Process, state); err != nil {
			return nil, err
		}
		c, err := m.adopt(state, init, nil)
		if err == nil {
			// An exec ends with its daemon, unless its runner was killed as well.
			if err = errors.Join(c.endDump(ctx), c.group.EndChildren(execEndTime)); err != nil {
				c.letGo()
			}
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
	return nil, errors.Join(group.Remove(), file.RemoveAll(m.libDir(state.Cgroup)), removeAll(dir, state.Upper, state.Work))
}

// belongs reports that a process is not the init of the container in the cgroup:
// it would be killed for it, or the container could not be.
func (m *Manager) belongs(init wire.Process, state wire.State) error {
	cgroup := state.Cgroup
	if now, err := wire.FindProcess(init.Pid); err != nil || now != init {
		if now, err := wire.FindProcess(state.Shim.Pid); err != nil || now != state.Shim {
			return nil // the container has ended
		}
		// With an init the kernel ends all of its PID namespace.
		if left, err := m.parent.Open(cgroup).Procs(); err == nil && len(left) > 0 {
			return fmt.Errorf("its record names process %d, which has ended, and in cgroup %s are still %v", init.Pid, cgroup, left)
		}
		return nil
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", init.Pid))
	if err != nil {
		return nil // it is gone
	}
	for line := range strings.Lines(string(b)) {
		path, unified := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if unified && !strings.Contains(path+"/", "/"+cgroup+"/") && !strings.HasSuffix(path, "/"+cgroup+" (deleted)") {
			return fmt.Errorf("its record names process %d, which is not in cgroup %s but in %s", init.Pid, cgroup, path)
		}
	}
	return nil
}

// decidedEvery is how often waitDecided looks. A start takes some tens of
// milliseconds; nothing that is shared with the sites, such as inotify's
// instances, is needed to wait for it.
const decidedEvery = 5 * time.Millisecond

// waitDecided waits until the start of a container has come to an end: there is
// an init, or an exit, or no shim any more. The record of a start that was over may
// have lost its init.json, so it waits no longer than `within`. What is given up
// wrongly is started anew.
func waitDecided(ctx context.Context, within time.Duration, dir string, shim *os.File) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("its monitor runs, and within %s there is no %s", within, wire.InitFile))
	defer cancel()
	over := make(chan error, 1)
	go func() { over <- wire.WaitEnd(shim) }()
	tick := time.NewTicker(decidedEvery)
	defer tick.Stop()
	for {
		for _, name := range []string{wire.InitFile, wire.ExitFile} {
			if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
				return nil
			}
		}
		select {
		case err := <-over:
			return err
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for a start that an earlier daemon asked for: %w", context.Cause(ctx))
		}
	}
}

// sweep ends what earlier daemons have left in cgroups that belong to no
// container: runners that waited, which end by themselves but for those that
// were killed half, and processes whose record is lost or damaged. Nobody would
// watch these, and the next replica would share its volumes with them.
func (m *Manager) sweep() (bad []Quarantined) {
	names, err := m.parent.Names()
	if err != nil {
		return []Quarantined{{Why: err}}
	}
	owned := map[string]bool{}
	m.mu.Lock()
	for _, c := range m.containers {
		if c != nil {
			owned[c.state.Cgroup] = true
		}
	}
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), lostTimeout)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, name := range names {
		if owned[name] || strings.HasPrefix(name, m.prefix) {
			continue
		}
		wg.Go(func() {
			group := m.parent.Open(name)
			ended := group.KillAll(ctx)
			if errors.Is(ended, os.ErrNotExist) {
				ended = nil // its shim has just removed it
			}
			if err := errors.Join(ended, group.Remove(), file.RemoveAll(m.libDir(name))); err != nil {
				mu.Lock()
				defer mu.Unlock()
				bad = append(bad, Quarantined{Why: fmt.Errorf("cgroup %s, which belongs to no container, cannot be emptied and removed: %w", name, err)})
			}
		})
	}
	wg.Wait()
	return bad
}
