package life

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/event"
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

// prepare makes a replica up to its gate, in the background.
func (l *Live) prepare(id site.ReplicaID) {
	a := l.Activity
	ctx, cancel := context.WithTimeout(l.Host.Ctx, l.Host.startTimeout(a.Spec))
	r := &Replica{ID: id, Name: l.nextName(id), Started: time.Now(), pinned: l.Pinned.Value(), cancel: cancel, gate: newGate(), stall: &stall{}}
	a.Replicas[id] = r
	g, s, st := r.gate, a.Spec, l.Site
	st.goKeep(r, func() {
		st.Host.Wakes.Yield(g.decided)
		p, err := st.makePrepared(ctx, r, s)
		cancel()
		if err != nil {
			st.notPrepared(r, g, err)
			return
		}
		st.Send(site.Prepared{ID: id})
		st.attend(r, g, p)
	})
}

// makePrepared does the slow part, one site after the other: nobody waits for
// it, and visitors of other sites do for the processor.
func (st *Site) makePrepared(ctx context.Context, r *Replica, s *spec.Site) (Prepared, error) {
	st.Host.preparing.Lock()
	defer st.Host.preparing.Unlock()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if st.Host.Cfg.Prepared.Max == 0 {
		return nil, errors.New("the configuration allows none (prepared.max)")
	}
	with, err := st.place(ctx, r, s)
	if err != nil {
		return nil, err
	}
	p, err := st.Host.Containers.Prepare(ctx, with)
	if err != nil {
		return nil, err
	}
	st.With(func(*Live) { r.sources = theirs(p.Sources(), st.Host.NamedVolumes.Dir()) })
	memory := p.Memory()
	if most := uint64(st.Host.Cfg.Prepared.Memory); memory > most {
		err := fmt.Errorf("it holds %d bytes of memory, all of them together may hold %d (prepared.memory)", memory, most)
		return nil, errors.Join(err, p.Discard())
	}
	st.Host.prepared.add(&waiting{e: st, r: r, memory: memory}, st.Host.Cfg.Prepared.Max, uint64(st.Host.Cfg.Prepared.Memory), st.Host.makeRoom)
	st.Host.keepPrepared()
	return p, nil
}

// notPrepared takes the failure to the machine; a visitor who came meanwhile gets
// an ordinary start.
func (st *Site) notPrepared(r *Replica, g *gate, err error) {
	st.Host.cleanUp(r)
	st.With(func(l *Live) {
		if l.Activity != nil && isClosed(g.opened) {
			l.trace = r.trace
			l.beginStart(site.Start{ID: r.ID})
			return
		}
		l.handle(site.PrepareFailed{ID: r.ID, Reason: err.Error()})
		r.remove(l)
	})
}

// attend waits with a replica at its gate for what is to become of it.
func (st *Site) attend(r *Replica, g *gate, p Prepared) {
	select {
	case <-g.opened:
		st.passGate(r, p, st.Host.prepared.remove(r))
		st.Host.keepPrepared()
		return
	case <-g.dropped:
	case <-p.Gone():
	case <-st.Host.Ctx.Done():
		return // it ends with the daemon
	}
	st.Host.prepared.remove(r)
	st.Host.keepPrepared()
	if err := p.Discard(); err != nil {
		st.Host.Log.Error("cannot throw away a prepared container", "replica", r.Name, "error", err)
	}
	st.notPrepared(r, g, errors.New("it was killed while it waited at its gate"))
}

// passGate lets a replica run that holds so many bytes already, as far as there is memory for
// what it grows by. If it cannot run, the visitor gets an ordinary start in the same breath.
func (st *Site) passGate(r *Replica, p Prepared, holds uint64) {
	ctx, cancel := context.WithCancel(st.Host.Ctx)
	defer cancel()
	var trace *wakeTrace
	var s *spec.Site
	st.With(func(l *Live) {
		trace, s = r.trace, cmp.Or(l.Activity, l.left).Spec
		r.cancel = cancel
		if r.stopping {
			cancel()
		}
	})
	if err := takeRest(ctx, st, r, s, holds); err != nil {
		st.started(r, nil, errors.Join(err, p.Discard()))
		return
	}
	ctx, end := context.WithTimeout(ctx, st.Host.startTimeout(s))
	defer end()
	opening, opened := outliving(ctx, st.Host)
	ctr, timing, err := p.Open(opening)
	opened()
	if err == nil {
		trace.marks(timing)
	} else if ctx.Err() == nil {
		st.Host.Log.Warn("a prepared container could not be used; starting another", "replica", r.Name, "error", err)
		st.Host.cleanUp(r)
		r.ns, r.kernel = nil, bpf.Replica{}
		trace.from(detect.TierCold)
		st.With(func(l *Live) {
			r.endTurn()
			r.from, r.pinned = "", l.Pinned.Value()
		})
		ctr, err = st.start(ctx, r, trace, s)
	}
	st.started(r, ctr, err)
}

// openGate wakes a site by its prepared replica.
func (l *Live) openGate(id site.ReplicaID) {
	a := l.Activity
	r := a.Replicas[id]
	if r == nil || r.gate == nil {
		l.beginStart(site.Start{ID: id}) // it died a moment ago
		return
	}
	r.Started = time.Now()
	r.woken = l.Host.Wakes.Begin()
	r.trace, a.trace = a.trace, nil
	if r.trace == nil {
		r.trace = l.newTrace(l.Host.Now(), event.StepAsked)
	}
	r.trace.from(detect.TierPrepared)
	r.trace.replica(r.Name)
	r.from = detect.TierPrepared
	r.gate.open()
	r.gate = nil
}

// waiting is a replica at its gate.
type waiting struct {
	e      *Site
	r      *Replica
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

// remove takes one out, and says how many bytes it held at its gate.
func (s *preparedSet) remove(r *Replica) (memory uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = slices.DeleteFunc(s.all, func(w *waiting) bool {
		if w.r == r {
			memory = w.memory
		}
		return w.r == r
	})
	return memory
}

// sites are those that have one, the oldest first.
func (s *preparedSet) sites() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]string, 0, len(s.all))
	for _, w := range s.all {
		out = append(out, w.e.Name)
	}
	return out
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// makeRoom ends a prepared replica for a newer one.
func (h *Host) makeRoom(w *waiting) {
	h.each(w.e, func(l *Live) {
		if l.Activity == nil || w.r.gate == nil {
			return // opened, or on its way out
		}
		w.r.gate.drop()
		l.handle(site.PrepareFailed{ID: w.r.ID, Reason: "it made room for another site's (prepared.max, prepared.memory)", NoRoom: true})
	})
}

// preparedFile lists the sites whose replicas wait at a gate.
func (h *Host) preparedFile() string { return filepath.Join(h.Cfg.StateDir, "prepared.json") }

// keepPrepared writes down for the next daemon who waits at a gate: the gates
// end with this one.
func (h *Host) keepPrepared() {
	h.preparedMu.Lock()
	defer h.preparedMu.Unlock()
	if err := leaveForNext(h.preparedFile(), h.prepared.sites()); err != nil {
		h.Log.Error("the next daemon will not know which sites to prepare", "error", err)
	}
}

// PrepareAgain has those prepared in the background that were so for the last
// daemon.
func (h *Host) PrepareAgain() {
	for _, e := range leftByLast(h, h.preparedFile(), "sites are prepared again after their next wake") {
		h.Guard(e, func() {
			err := withMachine(e, func(l *Live) error {
				l.newLadder() // it says whether the tier is in it
				l.wakeUp(site.PrepareAsked{}, nil)
				return nil
			})
			if err != nil {
				h.Log.Warn("a site is not prepared again", "site", e.Name, "error", err)
			}
		})
	}
}
