package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"

	"github.com/fcnode/fcnode/criu"
)

// A process in a user namespace cannot enter a network namespace that the initial
// one owns (EPERM), so what waits for a container with a user namespace of its own
// waits in the network namespace that this container will have.

// Netns is a network namespace that nobody has.
type Netns interface {
	FD() *os.File
	Close() error
}

// Place is a network namespace in which a runner, or CRIU, waits with a range of
// users of its own. A container whose Spec has it as its Netns is made by that.
type Place struct {
	Netns
	m *Manager
}

// Close ends what waits there, unless a container has taken it, and gives up the
// network namespace.
func (p *Place) Close() error {
	var err error
	if s := p.m.places.leave(p.FD()); s != nil {
		err = s.discard()
	}
	return errors.Join(err, p.Netns.Close())
}

// places are the slots in network namespaces.
type places struct {
	ctx  context.Context //nolint:containedctx // what waits is made beside those who use it; ends with close
	stop context.CancelFunc

	mu       sync.Mutex
	runners  *pool // nil before any is expected
	restores *pool // the same
	taken    map[*os.File]*slot
}

func newPlaces() *places {
	ctx, stop := context.WithCancel(context.Background())
	return &places{ctx: ctx, stop: stop}
}

// ExpectUserns has runners wait for containers with user namespaces of their own
// from now on. Call Adopt before, which finds the users that containers have.
func (m *Manager) ExpectUserns() {
	m.places.pool(m, false)
}

// pool gives that of runners or of CRIU, nil if nothing can wait.
func (p *places) pool(m *Manager, restores bool) *pool {
	if m.opts.Netns == nil {
		return nil
	}
	var before []string // arguments of the shim
	at, ahead := &p.runners, m.opts.Ahead
	if restores {
		m.criuMu.Lock()
		tool := m.criu
		m.criuMu.Unlock()
		if tool == nil { // nothing was checkpointed or restored yet
			return nil
		}
		at, ahead, before = &p.restores, min(restoresAhead, m.opts.Ahead), restoreArgs(tool)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if *at == nil && p.ctx.Err() == nil {
		*at = newPool(ahead, func() (*slot, error) { return m.newPlace(before) }, m.opts.Yield, m.log)
		(*at).refill()
	}
	return *at
}

// refillSoon has runners made in the place of those that were used for starts like this
// one.
func (m *Manager) refillSoon(spec Spec) {
	pool := m.pool
	if spec.Userns {
		pool = m.places.pool(m, false)
	}
	if pool != nil {
		pool.refillSoon()
	}
}

// restoreArgs are what a shim is started with to wait for a restore.
func restoreArgs(tool *criu.Tool) []string { return []string{"restore", tool.Path} }

// newPlace makes a slot in a network namespace that nobody has.
func (m *Manager) newPlace(before []string) (*slot, error) {
	ns, err := m.opts.Netns(m.places.ctx)
	if err != nil {
		return nil, err
	}
	s, err := m.usernsSlot(start{netns: ns.FD()}, before)
	if err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	s.netns = ns
	return s, nil
}

// usernsSlot makes a slot whose container has a user namespace of its own, in the
// network namespace that it starts with. before are restoreArgs, or none.
func (m *Manager) usernsSlot(with start, before []string) (*slot, error) {
	one, err := m.ids.take()
	if err != nil {
		return nil, err
	}
	s, err := m.newShim(with, append([]string{"userns", strconv.FormatUint(uint64(one), 10)}, before...)...)
	if err != nil {
		m.ids.giveBack(one)
		return nil, err
	}
	s.ids, s.giveBack, s.restores = one, sync.OnceFunc(func() { m.ids.giveBack(one) }), len(before) > 0
	return s, nil
}

// TakePlace gives a place where something waits, or nil: then the container has
// to have another network namespace, and Start or Restore make what they need.
func (m *Manager) TakePlace(restores bool) *Place {
	pool := m.places.pool(m, restores)
	if pool == nil {
		return nil
	}
	if restores {
		defer pool.refillSoon()
	}
	s := pool.waiting()
	if s == nil {
		return nil
	}
	p := &Place{Netns: s.netns, m: m}
	s.netns = nil
	m.places.mu.Lock()
	defer m.places.mu.Unlock()
	if m.places.taken == nil {
		m.places.taken = map[*os.File]*slot{}
	}
	m.places.taken[p.FD()] = s
	return p
}

// leave gives what waits in a network namespace, or nil, to who asks first.
func (p *places) leave(ns *os.File) *slot {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.taken[ns]
	delete(p.taken, ns)
	return s
}

// placedSlot gives the slot that waits in the container's network namespace, or
// makes one there: for a start, or with restoreArgs for a restore.
func (m *Manager) placedSlot(spec Spec, before ...string) (*slot, error) {
	s := m.places.leave(spec.Netns)
	fits := s != nil && s.restores == (len(before) > 0) && s.alive() && len(spec.Architectures) == 0 // its filter is for the machine's own
	if fits {
		return s, nil
	}
	if s != nil {
		if err := s.discard(); err != nil {
			m.log.Warn("something is left of a runner that is of no use here", "error", err)
		}
	}
	s, err := m.usernsSlot(start{netns: spec.Netns, foreign: spec.Architectures}, before)
	if err != nil {
		return nil, fmt.Errorf("starting container %s: %w", spec.name(), err)
	}
	return s, nil
}

// flush throws away what waits and nobody has taken.
func (p *places) flush() {
	for _, pool := range p.pools() {
		pool.flush()
	}
}

func (p *places) pools() (all []*pool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pool := range []*pool{p.runners, p.restores} {
		if pool != nil {
			all = append(all, pool)
		}
	}
	return all
}

// close ends what waits and nobody has taken. Who has taken a place closes that.
func (p *places) close() error {
	p.stop()
	var errs []error
	for _, pool := range p.pools() {
		errs = append(errs, pool.close())
	}
	return errors.Join(errs...)
}
