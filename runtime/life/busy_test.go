package life

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/netctl"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// works sets how many cores a container has used since it was created.
func (c *fakeContainer) works(cores float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cpu = cores
}

func (w *world) opens(conns ...netctl.OwnConn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.own = conns
}

func asleep(w *world) bool {
	frozen, _ := w.container("a-1").Frozen()
	return frozen
}

// TestWorkKeepsAwake: a site that works is not put to sleep in the middle, and as soon as it does nothing any more. It is told once, with what it does.
func TestWorkKeepsAwake(t *testing.T) {
	inWorld(t, "idle: 5m, tiers: [frozen]", func(t *testing.T, w *world, d *daemon, s *Site) {
		d.up(t, s)
		w.container("a-1").works(0.5)
		pass(time.Hour)
		if asleep(w) || d.count(event.Busy) != 1 {
			t.Fatalf("it uses half a core; asleep %t, %q", asleep(w), d.kinds())
		}
		if ev := d.lastEvent(t, event.Busy); ev.Reason != "it uses 50% of a core" || ev.Replica != "a-1" || !strings.Contains(ev.Text, "at most 6h0m0s") {
			t.Errorf("%+v", ev)
		}
		w.container("a-1").works(0)
		w.opens(netctl.OwnConn{To: netip.MustParseAddrPort("10.0.0.5:3306"), Up: true, Sent: 20 * time.Second, Received: time.Hour})
		pass(time.Minute)
		if asleep(w) {
			t.Fatal("it waits for its database, and sleeps")
		}
		w.opens(netctl.OwnConn{To: netip.MustParseAddrPort("10.0.0.5:3306"), Up: true, Sent: time.Hour, Received: time.Minute, Heard: time.Minute})
		pass(32 * time.Second)
		if !asleep(w) {
			t.Errorf("it does nothing and is awake: %q", d.kinds())
		}
		wantKinds(t, d, event.Busy, event.Frozen)
	})
}

// TestNoWork: what the spec does not count, or the node does not allow, keeps nothing awake, and costs no time.
func TestNoWork(t *testing.T) {
	for name, c := range map[string]struct {
		specs string
		most  time.Duration
	}{
		"not asked for": {"idle: 1m, tiers: [frozen], busy: false", time.Hour},
		"not allowed":   {"idle: 1m, tiers: [frozen]", 0},
		"not enough":    {"idle: 1m, tiers: [frozen], busy: {cpu: 60%}", time.Hour},
		"not counted":   {"idle: 1m, tiers: [frozen], busy: {cpu: 0%, connections: false}", time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, c.specs, func(t *testing.T, w *world, d *daemon, s *Site) {
				d.Cfg.Busy.Most = spec.Duration(c.most)
				d.up(t, s)
				w.container("a-1").works(0.5)
				if c.specs[len(c.specs)-2] == 'e' {
					w.opens(netctl.OwnConn{To: netip.MustParseAddrPort("10.0.0.5:3306"), Up: true})
				}
				pass(time.Minute + time.Millisecond)
				if !asleep(w) || d.count(event.Busy) != 0 {
					t.Errorf("asleep %t, %q", asleep(w), d.kinds())
				}
			})
		})
	}
}

// TestWorkEndsInTime: work keeps a site awake for as long as the node allows, and again after a visit.
func TestWorkEndsInTime(t *testing.T) {
	inWorld(t, "idle: 1m, tiers: [frozen]", func(t *testing.T, w *world, d *daemon, s *Site) {
		d.Cfg.Busy.Most = spec.Duration(time.Hour)
		id := d.up(t, s)
		w.container("a-1").works(1)
		for round := 1; round <= 2; round++ {
			pass(time.Hour + 30*time.Second)
			if asleep(w) {
				t.Fatalf("round %d: it has worked for less than an hour: %q", round, d.kinds())
			}
			pass(time.Minute)
			if !asleep(w) || d.count(event.Busy) != round {
				t.Fatalf("round %d: it has worked for over an hour: %q", round, d.kinds())
			}
			if ev := d.lastEvent(t, event.Frozen); ev.Reason != "idle 1m0s, at work for 1h0m0s (it uses 100% of a core)" {
				t.Errorf("it sleeps because of %q", ev.Reason)
			}
			d.visit(s)
			pass(time.Millisecond)
			w.leave(id)
		}
	})
}

// TestWorkAndVisitors: a visit in the middle of work makes its time begin anew, and parking by hand asks nobody.
func TestWorkAndVisitors(t *testing.T) {
	inWorld(t, "idle: 1m, tiers: [frozen]", func(t *testing.T, w *world, d *daemon, s *Site) {
		d.Cfg.Busy.Most = spec.Duration(10 * time.Minute)
		id := d.up(t, s)
		w.container("a-1").works(1)
		for range 3 {
			pass(8 * time.Minute)
			d.visit(s)
			pass(time.Minute)
			w.leave(id)
		}
		if asleep(w) || d.count(event.Busy) != 3 {
			t.Fatalf("asleep %t, %q", asleep(w), d.kinds())
		}
		s.Send(site.ParkAsked{Reason: "asked for by a user"})
		pass(time.Second)
		if ids := w.ids(); len(ids) != 0 {
			t.Errorf("it was parked by hand, and there are %v: %q", ids, d.kinds())
		}
	})
}

// TestWorkOfProbes: a health probe is no work of the site's: none is asked while one looks.
func TestWorkOfProbes(t *testing.T) {
	inWorld(t, "idle: 1m, tiers: [frozen], health: {http: /up, every: 1s}", func(t *testing.T, w *world, d *daemon, s *Site) {
		var a app
		a.status.Store(200)
		w.answers = a.dial
		d.up(t, s)
		pass(58*time.Second + 900*time.Millisecond)
		before := a.asked.Load()
		pass(1050 * time.Millisecond)
		if n := a.asked.Load() - before; n > 1 {
			t.Errorf("it was asked %d times while one looked", n)
		}
		w.container("a-1").works(1)
		pass(time.Minute)
		if n := a.asked.Load() - before; asleep(w) || n < 20 {
			t.Errorf("it works; asleep %t, and was asked %d times in a minute", asleep(w), n)
		}
	})
}

// succeed kills the daemon, and has the next one adopt the site's first replica.
func (d *daemon) succeed(t *testing.T, specs string, id bpf.ReplicaID) *Site {
	t.Helper()
	w := d.w
	kernel, set := w.replicas[id].kernel, w.sites[1]
	d.kill()
	*d = *w.start(specs)
	s := d.all["a"]
	stats, err := w.Stats(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := Adopt(s, site.ReplicaID(id), w.container("a-1"), kernel, fakeNamespace{w}, stats, set); err != nil {
		t.Error(err)
	}
	s.With((*Live).AllAdopted)
	return s
}

// TestWorkOverRestart: the next daemon looks, too.
func TestWorkOverRestart(t *testing.T) {
	const specs = "idle: 1m, tiers: [frozen]"
	inWorld(t, specs, func(t *testing.T, w *world, d *daemon, s *Site) {
		id := d.up(t, s)
		w.container("a-1").works(1)
		pass(10 * time.Minute)
		d.succeed(t, specs, id)
		pass(10 * time.Minute)
		if asleep(w) || d.count(event.Busy) != 2 {
			t.Errorf("asleep %t, %q", asleep(w), d.kinds())
		}
		w.container("a-1").works(0)
		pass(32 * time.Second)
		if !asleep(w) {
			t.Errorf("it does nothing and is awake: %q", d.kinds())
		}
	})
}

// TestNotLooked: whoever names work that the machine cannot see is told.
func TestNotLooked(t *testing.T) {
	for specs, want := range map[string]int{"idle: 1m": 0, "busy: false": 0, "busy: {io: 0B/s}": 0, "busy: {io: 2MiB/s}": 1} {
		s := parseLife(t, specs)
		if got := (&Host{Has: func(string) bool { return false }}).NotLooked(s); len(got) != want {
			t.Errorf("%s: %q", specs, got)
		}
		if got := (&Host{Has: func(string) bool { return true }}).NotLooked(s); len(got) != 0 {
			t.Errorf("%s, with the controller: %q", specs, got)
		}
	}
}

// TestWorkAfterAVisit: a site that had a visitor when its first sample was due is looked at all the same.
func TestWorkAfterAVisit(t *testing.T) {
	inWorld(t, "idle: 1s, tiers: [frozen]", func(t *testing.T, w *world, d *daemon, s *Site) {
		id := d.up(t, s)
		d.visit(s)
		w.container("a-1").works(1)
		pass(10 * time.Second)
		w.leave(id)
		pass(30 * time.Second)
		if asleep(w) || d.count(event.Busy) != 1 {
			t.Errorf("asleep %t, %q", asleep(w), d.kinds())
		}
	})
	inWorld(t, "idle: 1s, tiers: [frozen]", func(t *testing.T, w *world, d *daemon, s *Site) {
		d.visit(s)
		id := w.ids()[0]
		w.mu.Lock()
		w.replicas[id].stats.ConnsNow = 1 // when it is found to listen
		w.mu.Unlock()
		d.listen(s, id)
		w.leave(id)
		w.container("a-1").works(1)
		pass(30 * time.Second)
		if asleep(w) || d.count(event.Busy) != 1 {
			t.Errorf("asleep %t, %q", asleep(w), d.kinds())
		}
	})
}

// TestKeepConnections: a frozen replica holds connections of its own for as long as the spec says; one without any sleeps on.
func TestKeepConnections(t *testing.T) {
	pool := netctl.OwnConn{To: netip.MustParseAddrPort("10.0.0.5:3306"), Up: true, Sent: time.Hour, Received: time.Hour}
	const specs = "idle: 1m, tiers: [{tier: frozen, after: 1m}, {tier: cold, after: 24h}], keepConnections: 10m"
	inWorld(t, specs, func(t *testing.T, w *world, d *daemon, s *Site) {
		w.opens(pool, pool)
		id := d.up(t, s)
		pass(8 * time.Minute)
		if !asleep(w) {
			t.Fatalf("%q", d.kinds())
		}
		s.With(func(l *Live) {
			if n := l.Replicas[site.ReplicaID(id)].OwnConns; n != 2 {
				t.Errorf("%d connections are counted", n)
			}
		})
		d.visit(s) // the time begins anew
		w.leave(id)
		pass(10 * time.Minute)
		if !asleep(w) || len(w.ids()) != 1 {
			t.Fatalf("%q", d.kinds())
		}
		pass(2 * time.Minute)
		if len(w.ids()) != 0 || d.lastEvent(t, event.Parked).Reason != "it held 2 connections of its own for 10m0s" {
			t.Errorf("%q: %+v", d.kinds(), d.lastEvent(t, event.Parked))
		}
	})
	inWorld(t, specs, func(t *testing.T, w *world, d *daemon, s *Site) { // the next daemon goes on
		w.opens(pool)
		id := d.up(t, s)
		pass(5 * time.Minute)
		s = d.succeed(t, specs, id)
		w.opens()
		pass(time.Hour)
		if !asleep(w) || len(w.ids()) != 1 {
			t.Errorf("it holds none, and is gone: %q", d.kinds())
		}
		d.visit(s)
		w.opens(pool)
		w.leave(id)
		pass(5 * time.Minute)
		d.succeed(t, specs, id)
		pass(11 * time.Minute)
		if len(w.ids()) != 0 {
			t.Errorf("it holds one: %q", d.kinds())
		}
	})
	inWorld(t, "idle: 1m, tiers: [{tier: frozen, after: 1m}, {tier: cold, after: 24h}]", func(t *testing.T, w *world, d *daemon, s *Site) {
		w.opens(pool)
		d.up(t, s)
		pass(time.Hour)
		if !asleep(w) || len(w.ids()) != 1 {
			t.Errorf("nobody has said for how long: %q", d.kinds())
		}
	})
}
