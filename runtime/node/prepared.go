package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/internal/file"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// gate is where a prepared replica waits. Whichever is first decides: a wake
// opens it, or it is thrown away.
type gate struct {
	opened  chan struct{} // closed by open
	dropped chan struct{} // closed by drop
	decided chan struct{} // closed by both
	open    func()
	drop    func()
}

func newGate() *gate {
	g := &gate{opened: make(chan struct{}), dropped: make(chan struct{}), decided: make(chan struct{})}
	decide := sync.OnceFunc(func() { close(g.decided) })
	g.open = sync.OnceFunc(func() { close(g.opened); decide() })
	g.drop = sync.OnceFunc(func() { close(g.dropped); decide() })
	return g
}

// prepare makes a replica up to its gate, in the background. The caller holds
// e.mu.
func (n *Node) prepare(e *entry, id site.ReplicaID) {
	a := e.active
	ctx, cancel := context.WithTimeout(n.ctx, n.startTimeout(a.spec))
	r := &replica{id: id, name: replicaName(e.name, id), started: time.Now(), cancel: cancel, gate: newGate()}
	a.replicas[id] = r
	g, s := r.gate, a.spec
	n.work.Go(func() {
		n.wakes.yield(g.decided)
		p, err := n.makePrepared(ctx, e, r, s)
		cancel()
		if err != nil {
			n.notPrepared(e, r, g, err)
			return
		}
		n.send(e, site.Prepared{ID: id})
		n.attend(e, r, g, p)
	})
}

// makePrepared does the slow part, one site after the other: nobody waits for
// it, and visitors of other sites do for the processor.
func (n *Node) makePrepared(ctx context.Context, e *entry, r *replica, s *spec.Site) (*container.Prepared, error) {
	n.preparing.Lock()
	defer n.preparing.Unlock()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if n.cfg.Prepared.Max == 0 {
		return nil, errors.New("the configuration allows none (prepared.max)")
	}
	with, err := n.place(ctx, e, r, s)
	if err != nil {
		return nil, err
	}
	p, _, err := n.containers.Prepare(ctx, with)
	if err != nil {
		return nil, err
	}
	memory := p.Memory()
	if most := uint64(n.cfg.Prepared.Memory); memory > most {
		err := fmt.Errorf("it holds %d bytes of memory, all of them together may hold %d (prepared.memory)", memory, most)
		return nil, errors.Join(err, p.Discard())
	}
	n.prepared.add(&waiting{e: e, r: r, memory: memory}, n.cfg.Prepared.Max, uint64(n.cfg.Prepared.Memory), n.makeRoom)
	n.keepPrepared()
	return p, nil
}

// notPrepared takes the failure to the machine; a visitor who came meanwhile gets
// an ordinary start.
func (n *Node) notPrepared(e *entry, r *replica, g *gate, err error) {
	n.forget(r)
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.active.replicas, r.id)
	if isClosed(g.opened) {
		e.active.trace = r.trace
		n.beginStart(e, site.Start{ID: r.id})
		return
	}
	n.handle(e, site.PrepareFailed{ID: r.id, Reason: err.Error()})
}

// attend waits with a replica at its gate for what is to become of it.
func (n *Node) attend(e *entry, r *replica, g *gate, p *container.Prepared) {
	select {
	case <-g.opened:
		n.prepared.remove(r)
		n.passGate(e, r, p)
		n.keepPrepared()
		return
	case <-g.dropped:
	case <-p.Gone():
	case <-n.ctx.Done():
		return // it ends with the daemon
	}
	n.prepared.remove(r)
	n.keepPrepared()
	if err := p.Discard(); err != nil {
		n.log.Error("cannot throw away a prepared container", "replica", r.name, "error", err)
	}
	n.notPrepared(e, r, g, errors.New("it was killed while it waited at its gate"))
}

// passGate lets a replica run. If it cannot, the visitor gets an ordinary start in
// the same breath.
func (n *Node) passGate(e *entry, r *replica, p *container.Prepared) {
	e.mu.Lock()
	trace, s := r.trace, e.active.spec
	ctx, cancel := context.WithTimeout(n.ctx, n.startTimeout(s))
	r.cancel = cancel
	if r.stopping {
		cancel()
	}
	e.mu.Unlock()
	defer cancel()
	ctr, timing, err := p.Open(ctx)
	if err == nil {
		trace.marks(timing)
	} else if ctx.Err() == nil {
		n.log.Warn("a prepared container could not be used; starting another", "replica", r.name, "error", err)
		n.forget(r)
		r.ns, r.kernel = nil, bpf.Replica{}
		trace.from(site.TierCold)
		e.mu.Lock()
		r.from = site.TierRunning
		e.mu.Unlock()
		ctr, err = n.start(ctx, e, r, trace, s)
	}
	n.started(e, r, ctr, err)
}

// openGate wakes a site by its prepared replica. The caller holds e.mu.
func (n *Node) openGate(e *entry, id site.ReplicaID) {
	a := e.active
	r := a.replicas[id]
	if r == nil || r.gate == nil {
		n.beginStart(e, site.Start{ID: id}) // it died a moment ago
		return
	}
	r.started = time.Now()
	r.woken = n.wakes.begin()
	r.trace, a.trace = a.trace, nil
	if r.trace == nil {
		r.trace = newTrace(e.name, bpf.Now(), api.StepAsked)
	}
	r.trace.from(site.TierPrepared)
	r.trace.replica(r.name)
	r.from = site.TierPrepared
	r.gate.open()
	r.gate = nil
}

// unprepare throws away what waits at its gate, or is on the way there. The
// caller holds e.mu.
func (n *Node) unprepare(e *entry, id site.ReplicaID) {
	if r := e.active.replicas[id]; r != nil && r.gate != nil {
		r.gate.drop()
		r.cancel()
	}
}

// makeRoom ends a prepared replica for a newer one.
func (n *Node) makeRoom(w *waiting) {
	w.e.mu.Lock()
	defer w.e.mu.Unlock()
	if w.e.active == nil || w.r.gate == nil {
		return // opened, or on its way out
	}
	w.r.gate.drop()
	n.handle(w.e, site.PrepareFailed{ID: w.r.id, Reason: "it made room for another site's (prepared.max, prepared.memory)", NoRoom: true})
}

// waiting is a replica at its gate.
type waiting struct {
	e      *entry
	r      *replica
	memory uint64
}

// preparedSet bounds the replicas that wait at their gates.
type preparedSet struct {
	mu  sync.Mutex
	all []*waiting // the oldest first
}

// add takes one in and has the oldest make room, if need be.
func (s *preparedSet) add(w *waiting, most int, memory uint64, makeRoom func(*waiting)) {
	s.mu.Lock()
	s.all = append(s.all, w)
	var sum uint64
	keep := 0
	for i := len(s.all) - 1; i >= 0 && keep < most; i-- {
		sum += s.all[i].memory
		if sum > memory {
			break
		}
		keep++
	}
	out := slices.Clone(s.all[:len(s.all)-keep])
	s.all = slices.Clone(s.all[len(s.all)-keep:])
	s.mu.Unlock()
	for _, old := range out {
		makeRoom(old)
	}
}

func (s *preparedSet) remove(r *replica) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = slices.DeleteFunc(s.all, func(w *waiting) bool { return w.r == r })
}

// sites are those that have one, the oldest first.
func (s *preparedSet) sites() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]string, 0, len(s.all))
	for _, w := range s.all {
		out = append(out, w.e.name)
	}
	return out
}

func (n *Node) preparedFile() string { return filepath.Join(n.cfg.StateDir, "prepared.json") }

// keepPrepared writes down for the next daemon who waits at a gate: the gates
// end with this one.
func (n *Node) keepPrepared() {
	n.preparedMu.Lock()
	defer n.preparedMu.Unlock()
	b, err := json.Marshal(n.prepared.sites())
	if err == nil {
		err = replaceFile(n.preparedFile(), b)
	}
	if err != nil {
		n.log.Error("the next daemon will not know which sites to prepare", "error", err)
	}
}

// prepareAgain has those prepared in the background that were so for the last
// daemon.
func (n *Node) prepareAgain() {
	b, err := file.Read(n.preparedFile(), file.Small)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var names []string
	if err == nil {
		err = json.Unmarshal(b, &names)
	}
	if err != nil {
		n.moveAside(n.cfg.StateDir, n.preparedFile(), "", err, "sites are prepared again after their next wake")
		return
	}
	for _, name := range names {
		e, err := n.byName(name)
		if err != nil {
			continue // deleted
		}
		if err := n.wakeUp(e, site.PrepareAsked{}, nil); err != nil {
			n.log.Warn("a site is not prepared again", "site", name, "error", err)
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
