package life

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/site"
)

// ready4 changes who listens, and tells nobody.
func (w *world) ready4(id bpf.ReplicaID, mask uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.replicas[id].stats.Ready4 = mask
}

// looks is how often was looked who listens.
func (w *world) looks(id bpf.ReplicaID) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.replicas[id].looks
}

// portsEvent is that who listens has changed.
func (d *daemon) portsEvent(s *Site, id bpf.ReplicaID) {
	s.SocketEvent(bpf.Event{Kind: bpf.EventReady, Site: s.ID, Replica: id, Time: d.w.now()})
}

// TestReadyWithoutAnEvent: the event was lost on its way, and the site listens. When its time to start is over the data path is
// asked before anybody is killed.
func TestReadyWithoutAnEvent(t *testing.T) {
	inWorld(t, "idle: 1h", func(t *testing.T, w *world, d *daemon, s *Site) {
		d.visit(s)
		id := w.ids()[0]
		w.ready4(id, 1)
		pass(time.Duration(config.Default().Start.Timeout) + time.Second)
		if ids := w.ids(); !slices.Equal(ids, []bpf.ReplicaID{id}) || d.phase(s) != site.Running {
			t.Fatalf("it listens, and the replicas are %v, the site is %s", ids, d.phase(s))
		}
		if released, refused := w.counts(); released != 1 || refused != 0 {
			t.Errorf("%d let in, %d refused", released, refused)
		}
		wantKinds(t, d, event.Waking, event.Running)
	})
}

// TestReadyWithoutAnEventBeforeItsProbe: the same of a site with a probe, which is asked then, and has its time.
func TestReadyWithoutAnEventBeforeItsProbe(t *testing.T) {
	inWorld(t, "idle: 1h, ready: {http: /up}", func(t *testing.T, w *world, d *daemon, s *Site) {
		var a app
		a.status.Store(502)
		w.answers = a.dial
		d.visit(s)
		id := w.ids()[0]
		w.ready4(id, 1)
		timeout := time.Duration(config.Default().Start.Timeout)
		pass(timeout + timeout/2)
		if asked := a.asked.Load(); asked == 0 || d.phase(s) != site.Waking {
			t.Fatalf("asked %d times, %s", asked, d.phase(s))
		}
		pass(timeout)
		if refused := d.lastEvent(t, event.Failed); refused.Site != "a" {
			t.Errorf("its probe never passes: %+v", refused)
		}
	})
}

// TestPortsFlapping: a replica that opens and closes its port without a pause costs the daemon a look each tenth of a second, and
// its neighbour nothing. What it is in the end is seen.
func TestPortsFlapping(t *testing.T) {
	inWorld(t, "idle: 1h", func(t *testing.T, w *world, d *daemon, s *Site) {
		b := d.neighbour(t, "idle: 1m, tiers: [cold]")
		id := d.up(t, s)
		before := w.looks(id)
		for i := range 1000 {
			w.ready4(id, uint32(i%2))
			d.portsEvent(s, id)
			synctest.Wait()
		}
		if looks := w.looks(id) - before; looks > portLooks+1 {
			t.Errorf("looked %d times in no time", looks)
		}
		d.serving(t, b)
		w.ready4(id, 0)
		before = w.looks(id)
		pass(portLookAfter * 2)
		if looks := w.looks(id) - before; looks != 1 {
			t.Errorf("then looked %d times", looks)
		}
		if r := s.replicaOf(site.ReplicaID(id)); r.ports.ready4 != 0 {
			t.Errorf("it is closed, and known as %b", r.ports.ready4)
		}
	})
}

// replicaOf is a live replica.
func (st *Site) replicaOf(id site.ReplicaID) (r *Replica) {
	st.With(func(l *Live) { r = l.Replicas[id] })
	return r
}

// TestHeldWhileThePortWasClosed: a port is closed and opened again before anybody looks. Who was held in between is let in.
func TestHeldWhileThePortWasClosed(t *testing.T) {
	inWorld(t, "idle: 1h", func(t *testing.T, w *world, d *daemon, s *Site) {
		id := d.up(t, s)
		w.ready4(id, 0)
		d.visit(s)
		w.ready4(id, 1)
		d.portsEvent(s, id)
		synctest.Wait()
		w.mu.Lock()
		held := w.held[s.ID]
		w.mu.Unlock()
		if _, refused := w.counts(); held != 0 || refused != 0 {
			t.Errorf("%d packets are held, %d refused", held, refused)
		}
	})
}

// TestPortLooks: so many looks at once, and then one by one.
func TestPortLooks(t *testing.T) {
	var p ports
	now := time.Now()
	for range portLooks {
		if wait := p.wait(now); wait != 0 {
			t.Fatalf("waits %s", wait)
		}
	}
	if wait := p.wait(now); wait != portLookAfter {
		t.Errorf("waits %s, want %s", wait, portLookAfter)
	}
	if wait := p.wait(now.Add(time.Minute)); wait != 0 {
		t.Errorf("waits %s after a minute", wait)
	}
}
