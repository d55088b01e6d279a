package life

import (
	"slices"
	"testing"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/site"
)

func (d *daemon) count(kind event.Kind) (n int) {
	for _, k := range d.kinds() {
		if k == kind {
			n++
		}
	}
	return n
}

// TestUnhealthyIsReplaced: a replica that hangs is circulated after three tries in a row, and serves until the next one does. One that is well is
// asked, and nothing else.
func TestUnhealthyIsReplaced(t *testing.T) {
	inWorld(t, "idle: 1h, busy: false, health: {http: /ping, timeout: 1s}", func(t *testing.T, w *world, d *daemon, s *Site) {
		var a app
		a.status.Store(200)
		w.answers = a.dial
		old := d.up(t, s)
		pass(time.Minute + time.Second)
		if asked := a.asked.Load(); asked != 6 || d.count(event.Unhealthy) != 0 {
			t.Fatalf("asked %d times in a minute, %q", asked, d.kinds())
		}
		a.status.Store(-1)
		pass(15 * time.Second) // one or two tries
		a.status.Store(200)
		pass(10 * time.Second)
		a.status.Store(-1)
		pass(24 * time.Second)
		if n := d.count(event.Unhealthy); n != 0 {
			t.Fatalf("it was well in between, and is replaced: %q", d.kinds())
		}
		pass(15 * time.Second)
		ids := w.ids()
		if len(ids) != 2 || ids[0] != old || w.sites[s.ID].Replicas[0].Draining {
			t.Fatalf("the replicas are %v", ids)
		}
		want := "its health probe has failed 3 times in a row: GET /ping on port 80: no answer within 1s"
		if ev := d.lastEvent(t, event.Unhealthy); ev.Reason != want || ev.Replica != "a-1" {
			t.Errorf("the event says %q of %s, want %q", ev.Reason, ev.Replica, want)
		}
		a.status.Store(200)
		d.listen(s, ids[1])
		pass(time.Minute)
		if now := w.ids(); len(now) != 1 || now[0] != ids[1] {
			t.Errorf("the replicas are %v", now)
		}
		if st, err := w.Stats(ids[1]); err != nil || st.ConnsTotal != 0 {
			t.Errorf("the tries are counted as %d visits (%v)", st.ConnsTotal, err)
		}
		wantKinds(t, d, event.Unhealthy, event.Circulating, event.Running, event.Drained)
	})
}

// TestHealthLetsSleep: tries neither keep a site awake nor wake it; one that sleeps is not asked.
func TestHealthLetsSleep(t *testing.T) {
	inWorld(t, "idle: 1m, tiers: [frozen], health: {tcp: 80, every: 1s}", func(t *testing.T, w *world, d *daemon, s *Site) {
		var a app
		a.status.Store(200)
		w.answers = a.dial
		d.up(t, s)
		pass(61 * time.Second)
		c := w.containers["a-1.1"]
		if frozen, _ := c.Frozen(); !frozen {
			t.Fatal("it does not sleep")
		}
		asked := a.asked.Load()
		a.status.Store(0)
		pass(time.Hour)
		if frozen, _ := c.Frozen(); !frozen || a.asked.Load() != asked || d.count(event.Unhealthy) != 0 {
			t.Errorf("it sleeps: frozen %v, asked %d times", frozen, a.asked.Load()-asked)
		}
		a.status.Store(200)
		d.visit(s)
		pass(2500 * time.Millisecond)
		if a.asked.Load() != asked+2 {
			t.Errorf("it runs again, and was asked %d times", a.asked.Load()-asked)
		}
	})
}

// TestUnhealthyForEver: where no replica is better than the one before, the node does not circulate without end.
func TestUnhealthyForEver(t *testing.T) {
	inWorld(t, "idle: 1h, lifetime: never, health: {tcp: 80, failures: 1}", func(t *testing.T, w *world, d *daemon, s *Site) {
		d.up(t, s)
		for range 360 {
			pass(10 * time.Second)
			for _, id := range w.ids() {
				if st, err := w.Stats(id); err == nil && st.Ready4 == 0 {
					d.listen(s, id)
				}
			}
		}
		if n := d.count(event.Unhealthy); n < 10 || n > 20 {
			t.Errorf("%d circulations in an hour, want about 16: 1, 2, 4, 8, 16, 32 tries of 10 s each, and so on", n)
		}
	})
}

// TestStallIsTold: visitors wait and nobody gets an answer; that is told once, and no replica ends for it.
func TestStallIsTold(t *testing.T) {
	inWorld(t, "idle: 1h, health: {answer: 20s}", func(t *testing.T, w *world, d *daemon, s *Site) {
		id := d.up(t, s)
		d.visit(s)
		load := func(change func(*bpf.Load)) {
			w.mu.Lock()
			change(&w.replicas[id].load)
			w.mu.Unlock()
		}
		look := func(n int) {
			for range n {
				pass(StallLook)
				d.FindStalls()
			}
		}
		look(10)
		load(func(l *bpf.Load) { l.Requests, l.BytesIn, l.BytesOut = 1, 100, 1000 })
		look(10)
		if d.count(event.Stalled) != 0 {
			t.Fatal("whoever is connected and asks nothing does not wait")
		}
		load(func(l *bpf.Load) { l.Requests, l.BytesIn = 2, 200 })
		look(4)
		if d.count(event.Stalled) != 0 {
			t.Error("told too early")
		}
		look(20)
		if d.count(event.Stalled) != 1 {
			t.Errorf("told %d times", d.count(event.Stalled))
		}
		want := "1 connections are open, 0 of them not accepted, and nobody has got an answer for 20s"
		if ev := d.lastEvent(t, event.Stalled); ev.Reason != want {
			t.Errorf("the event says %q, want %q", ev.Reason, want)
		}
		load(func(l *bpf.Load) { l.BytesOut = 2000 })
		look(10)
		load(func(l *bpf.Load) { l.AcceptQueue = 1 })
		look(10)
		if d.count(event.Stalled) != 2 || d.phase(s) != site.Running || !slices.Equal(w.ids(), []bpf.ReplicaID{id}) {
			t.Errorf("told %d times, want twice; %s, %v", d.count(event.Stalled), d.phase(s), w.ids())
		}
	})
}

// TestStallOfTheFirstVisitor: an application that hangs at its very first request is told, too, and at the first one after a sleep.
func TestStallOfTheFirstVisitor(t *testing.T) {
	inWorld(t, "idle: 1m, tiers: [frozen], health: {answer: 20s}", func(t *testing.T, w *world, d *daemon, s *Site) {
		id := d.up(t, s)
		count := func(requests, answers uint64) {
			w.mu.Lock()
			w.replicas[id].load = bpf.Load{Requests: requests, BytesIn: 100 * requests, BytesOut: 1000 * answers}
			w.mu.Unlock()
		}
		look := func() {
			for range 6 {
				pass(StallLook)
				d.FindStalls()
			}
		}
		for asleep := range 3 {
			d.visit(s)
			count(uint64(asleep+1), uint64(asleep))
			look()
			if n := d.count(event.Stalled); n != asleep+1 {
				t.Fatalf("told %d times, after %d sleeps", n, asleep)
			}
			count(uint64(asleep+1), uint64(asleep+1))
			w.leave(id)
			for frozen := false; !frozen; frozen, _ = w.containerOf(id).Frozen() {
				look()
			}
		}
	})
}

// TestStallJudge: what is no stall.
func TestStallJudge(t *testing.T) {
	at := time.Unix(0, 0)
	for name, step := range map[string]func(i uint64) bpf.Load{
		"idle":     func(uint64) bpf.Load { return bpf.Load{ConnsNow: 1, ConnsTotal: 1} },
		"upload":   func(i uint64) bpf.Load { return bpf.Load{ConnsNow: 1, ConnsTotal: 1, Requests: 1, BytesIn: i << 20} },
		"download": func(i uint64) bpf.Load { return bpf.Load{ConnsNow: 1, ConnsTotal: 1, Requests: i, BytesOut: i} },
		"UDP":      func(i uint64) bpf.Load { return bpf.Load{ConnsNow: 1, Requests: i, DatagramsOut: i} },
		"gone":     func(i uint64) bpf.Load { return bpf.Load{ConnsTotal: i, Requests: i} },
	} {
		s := stall{}
		for i := range uint64(100) {
			if waited := s.judge(at.Add(time.Duration(i)*time.Second), step(i)); waited > 2*time.Second {
				t.Errorf("%s: somebody is said to wait for %s", name, waited)
				break
			}
		}
	}
}
