package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/runtime/volume"
)

// Prepared is a container that is complete but for its program: namespaces,
// mounts, cgroup, limits and seccomp filter are in force, and its init waits
// just before execve. What the Spec says was read at Prepare and stays so. It
// does not survive the daemon: its runner sees the end of the connection, and
// nothing is left but two folders, which the next Adopt removes.
type Prepared struct {
	m    *Manager
	made *created
	gone chan struct{}

	over chan struct{} // closed when who has taken it is done

	mu    sync.Mutex
	taken bool // by Open, Discard or death, whichever is first
}

// Prepare makes a container up to the gate before its program. Errors are those
// of Start; after any of them nothing is left.
func (m *Manager) Prepare(ctx context.Context, spec Spec) (*Prepared, Timing, error) {
	timing := Timing{Started: wire.Now()}
	if err := spec.validate(); err != nil {
		return nil, timing, err
	}
	spec, err := m.withInit(spec)
	if err != nil {
		return nil, timing, err
	}
	if !m.reserve(spec.ID) {
		return nil, timing, fmt.Errorf("preparing container %s: %w", spec.name(), ErrExists)
	}
	made, err := m.create(ctx, spec, true, &timing)
	m.refillSoon(spec)
	if err != nil {
		err = errors.Join(err, m.undo(spec))
		m.release(spec.ID, nil)
		return nil, timing, err
	}
	p := &Prepared{m: m, made: made, gone: make(chan struct{}), over: make(chan struct{})}
	m.keepPrepared(p)
	go p.watch()
	return p, timing, nil
}

// ID is the container's name.
func (p *Prepared) ID() string { return p.made.state.ID }

// Sources are where its volumes come from, and what those were at Prepare.
func (p *Prepared) Sources() []volume.Source { return p.made.init.Sources }

// Group is the container's cgroup; its limits may be changed before it is opened.
// It is not to be frozen: what waits would not see the end of the daemon.
func (p *Prepared) Group() *cgroup.Group { return p.made.slot.group }

// Gone is closed when nothing is left to be opened or running: it died at the
// gate, was discarded, or the container that it became has ended.
func (p *Prepared) Gone() <-chan struct{} { return p.gone }

// Open lets the program be executed, and returns when it is. An error means
// that the container is gone, with all that belonged to it: ErrNotRunning if it
// had gone before, else as for Start.
func (p *Prepared) Open(ctx context.Context) (*Container, Timing, error) {
	timing := Timing{Started: wire.Now()}
	if !p.take() {
		<-p.over // it may only be on its way out
		return nil, timing, fmt.Errorf("opening prepared container %s: %w", p.ID(), ErrNotRunning)
	}
	defer close(p.over)
	c, err := p.open(ctx, &timing)
	if err != nil {
		err = errors.Join(err, p.made.slot.abort(), p.remove())
	}
	p.m.release(p.ID(), c)
	return c, timing, err
}

func (p *Prepared) open(ctx context.Context, timing *Timing) (*Container, error) {
	slot, state := p.made.slot, p.made.state
	if err := wire.Send(slot.conn, wire.OpenRequest{Sent: wire.Now()}); err != nil {
		return nil, fmt.Errorf("opening prepared container %s: %w", p.ID(), err)
	}
	state.Created = time.Now() // the container's age counts from here
	if _, err := slot.wait(ctx, p.ID(), timing); err != nil {
		return nil, err
	}
	_ = slot.conn.Close() // the runner has ended
	// A daemon that dies before this leaves the instant of Prepare behind.
	if err := wire.WriteFile(p.m.dir(p.ID()), wire.StateFile, state); err != nil {
		return nil, err
	}
	return p.m.adopt(state, p.made.init, slot.ended)
}

// Discard ends what waits, and removes it. After Open, or a second time, it
// does nothing.
func (p *Prepared) Discard() error {
	if !p.take() {
		return nil
	}
	defer close(p.over)
	err := errors.Join(p.made.slot.discard(), p.remove())
	p.m.release(p.ID(), nil)
	if err != nil {
		return fmt.Errorf("discarding prepared container %s: %w", p.ID(), err)
	}
	return nil
}

// Memory is what the waiting processes hold, in bytes: what the kernel accounts
// to their cgroup where it does, and else their share of the memory they have
// mapped; the monitor is included.
func (p *Prepared) Memory() uint64 {
	total := proportional(p.made.slot.shim.Pid)
	if n, err := p.Group().MemoryCurrent(); err == nil {
		return total + n
	}
	pids, err := p.Group().Procs()
	if err != nil {
		return 0 // gone
	}
	for _, pid := range pids {
		total += proportional(pid)
	}
	return total
}

// proportional is the memory that a process has mapped, in bytes, what it
// shares with others divided among them; 0 if it is gone.
func proportional(pid int) uint64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "Pss:" {
			kib, _ := strconv.ParseUint(f[1], 10, 64) // the kernel's own number
			return kib << 10
		}
	}
	return 0
}

// take tells the first who asks that what happens next is up to him.
func (p *Prepared) take() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := !p.taken
	p.taken = true
	return first
}

// watch waits for the shim, which ends with whatever became of the container.
// The runner ends when the waiting init dies, and the shim with the runner.
func (p *Prepared) watch() {
	<-p.made.slot.ended
	if p.take() {
		err := errors.Join(p.made.slot.discard(), p.remove())
		p.m.release(p.ID(), nil)
		close(p.over)
		p.m.log.Warn("a prepared container was killed while it waited", "container", p.ID(), "error", err)
	}
	p.m.dropPrepared(p)
	close(p.gone)
}

// remove removes the folders of a container that never ran.
func (p *Prepared) remove() error {
	return removeAll(p.m.dir(p.ID()), p.made.state.Upper, p.made.state.Work)
}

func (m *Manager) keepPrepared(p *Prepared) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.prepared[p.ID()] = p
}

func (m *Manager) dropPrepared(p *Prepared) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.prepared[p.ID()] == p { // the name may be in use again
		delete(m.prepared, p.ID())
	}
}

// discardPrepared ends all that wait.
func (m *Manager) discardPrepared() error {
	m.mu.Lock()
	var all []*Prepared
	for _, p := range m.prepared {
		all = append(all, p)
	}
	m.mu.Unlock()
	var errs []error
	for _, p := range all {
		errs = append(errs, p.Discard())
	}
	return errors.Join(errs...)
}
