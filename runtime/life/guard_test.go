package life

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/thread"
)

// neighbour is another site of the daemon.
func (d *daemon) neighbour(t *testing.T, specs string) *Site {
	t.Helper()
	return d.beside(t, "b", specs)
}

// serving wakes a site beside others.
func (d *daemon) serving(t *testing.T, s *Site) bpf.ReplicaID {
	t.Helper()
	before := d.w.ids()
	d.visit(s)
	for _, id := range d.w.ids() {
		if !slices.Contains(before, id) {
			d.listen(s, id)
			if d.phase(s) == site.Running {
				return id
			}
		}
	}
	t.Fatalf("site %s is %s, the replicas are %v", s.Name, d.phase(s), d.w.ids())
	return 0
}

// live leads the site through all that a replica's life has.
func (d *daemon) live(s *Site) {
	for range 2 {
		d.visit(s)
		for _, id := range d.w.ids() {
			if r := d.w.replica(id); r.kernel.Site == s.ID && r.stats.Ready4 == 0 {
				d.listen(s, id)
			}
		}
		d.visit(s) // has a connection now
		pass(time.Second)
		for _, id := range d.w.ids() {
			if d.w.replica(id).kernel.Site == s.ID {
				d.w.leave(id)
			}
		}
		pass(90 * time.Second)
	}
	d.FindStalls()
	d.NewLadders()
	pass(time.Hour)
}

func (w *world) replica(id bpf.ReplicaID) *fakeReplica {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.replicas[id]
}

func (w *world) breakWhere(bug string) (before int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bug = bug
	return w.panics
}

// TestPanicQuarantinesItsSite: whatever panics while a site is handled, and however often, that site is refused, and told; another
// one sleeps and wakes as ever, and when the site is applied again it does, too. Nothing is left of its replicas.
func TestPanicQuarantinesItsSite(t *testing.T) {
	for _, bug := range []string{
		"Add", "Get", "AddReplica", "Start", "SetSite", "ReleaseIf", "TakePorts", "Stats", "LoadOf", "SetAsleep", "Freeze", "Thaw", "ParkSite",
		"RemoveReplica", "Remove", "Prepare",
	} {
		t.Run(bug, func(t *testing.T) {
			tiers := "idle: 1m, tiers: [{tier: frozen, after: 1m}, {tier: cold, after: 10m}]"
			if bug == "Prepare" {
				tiers = "idle: 1m, tiers: [prepared]"
			}
			inWorld(t, tiers, func(t *testing.T, w *world, d *daemon, s *Site) {
				b := d.neighbour(t, "idle: 1m, tiers: [cold]")
				w.breakWhere(bug)
				d.live(s)
				if panics := w.breakWhere(""); panics == 0 {
					t.Fatal("nothing has panicked")
				}
				synctest.Wait()
				why := d.Quarantine.Sites()["a"]
				if why == nil || why.Error() != "panic: the bug of "+bug || !s.Quarantined() {
					t.Fatalf("quarantined: %v (%t)", why, s.Quarantined())
				}
				if n := d.Quarantine.Counted()[BadSite]; n != 1 {
					t.Errorf("counted %d times", n)
				}
				wantKinds(t, d, event.Quarantined)
				if bug != "SetSite" { // else the kernel does not know
					if set := w.siteOf(s.ID); !set.Refuse {
						t.Errorf("the data path has %+v", set)
					}
				}
				w.mu.Lock()
				held := w.held[s.ID]
				w.mu.Unlock()
				if held != 0 && bug != "Refuse" {
					t.Errorf("%d packets are still held", held)
				}
				if err := s.Wake("asked"); err == nil {
					t.Error("it wakes")
				}
				d.serving(t, b)

				if err := s.Release(context.Background()); err != nil {
					t.Fatal(err)
				}
				if why := d.Quarantine.Sites()["a"]; why != nil || s.Quarantined() || !w.parked(s.ID) {
					t.Fatalf("released, and %v; parked %t", why, w.parked(s.ID))
				}
				for _, id := range w.ids() {
					if w.replica(id).kernel.Site == s.ID && bug != "RemoveReplica" {
						t.Errorf("replica %d is left", id)
					}
				}
				d.serving(t, s)
			})
		})
	}
}

func (w *world) siteOf(id bpf.SiteID) bpf.Site {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sites[id]
}

// TestPanicLeavesServing: a replica that serves goes on serving, though nobody handles its site any more, also at the daemon's
// end; and when it ends by itself nothing of it is left.
func TestPanicLeavesServing(t *testing.T) {
	inWorld(t, "idle: 1h, tiers: [cold]", func(t *testing.T, w *world, d *daemon, s *Site) {
		id := d.serving(t, s)
		d.Guard(s, func() { s.With(func(*Live) { panic("a bug") }) })
		set := w.siteOf(s.ID)
		if !set.Refuse || len(set.Replicas) != 1 || set.Replicas[0].ID != id {
			t.Fatalf("the data path has %+v", set)
		}
		pass(3 * time.Hour)
		c := w.container("a-1")
		if _, ended := c.Exit(); ended {
			t.Fatal("it was ended")
		}
		if images, err := d.ImagesInUse(t.Context()); err != nil || !slices.Contains(images, "sha256:a") {
			t.Errorf("its image is not in use: %v, %v", images, err)
		}
		_ = c.Kill(t.Context())
		pass(time.Minute)
		if left := w.ids(); len(left) != 0 || len(w.containers) != 0 {
			t.Errorf("left: %v, %v", left, w.containers)
		}
		if err := s.Release(t.Context()); err != nil {
			t.Error(err)
		}
		d.serving(t, s)
	})
}

// TestPanicAtAdoption: a daemon that panics whenever it adopts a site's replica starts all the same, again and again, and other
// sites wake; the one that does not panic serves the site.
func TestPanicAtAdoption(t *testing.T) {
	const specs = "idle: 1h, tiers: [cold]"
	inWorld(t, specs, func(t *testing.T, w *world, d *daemon, s *Site) {
		for range 3 {
			id := d.serving(t, s)
			c := w.containerOf(id)
			d.kill()
			*d = *w.start(specs)
			s = d.all["a"]
			w.breakWhere("Frozen")
			ok := d.Guard(s, func() {
				r := w.replica(id)
				_ = Adopt(s, site.ReplicaID(id), c, r.kernel, fakeNamespace{w}, r.stats, bpf.Site{Replicas: []bpf.SiteReplica{{ID: id}}})
			})
			w.breakWhere("")
			if ok || !s.Quarantined() {
				t.Fatal("the adoption has not panicked")
			}
			d.serving(t, d.neighbour(t, specs))
			pass(time.Minute)
			if _, ended := c.Exit(); !ended {
				t.Error("a replica of which nothing is known runs on, and serves nobody")
			}
			d.kill()
			for _, id := range w.ids() { // as a daemon does at its start
				_ = w.RemoveReplica(id, bpf.Replica{})
			}
			_ = w.ParkSite(s.ID)
			*d = *w.start(specs)
			s = d.all["a"]
		}
		d.serving(t, s)
	})
}

// TestGuarded: what is tried again gets its panic as an error, also one of another thread. A panic is told once, and each counts.
func TestGuarded(t *testing.T) {
	inWorld(t, "idle: never", func(t *testing.T, _ *world, d *daemon, _ *Site) {
		try := Guarded(d.Host)
		mine := errors.New("mine")
		if err := try(func() error { return mine }); !errors.Is(err, mine) {
			t.Errorf("an error became %v", err)
		}
		told := func() (n int) {
			d.Eventlog.Newest(func(ev event.Event) bool {
				if ev.Kind == event.Panicked {
					n++
				}
				return true
			})
			return n
		}
		for i, f := range []func() error{
			func() error { panic(mine) },
			func() error { return thread.Throwaway(func() error { panic(mine) }) },
			func() error { var none []int; return fmt.Errorf("%d", none[1]) },
		} {
			for range 3 {
				if err := try(f); err == nil || !strings.HasPrefix(err.Error(), "panic: ") {
					t.Errorf("a panic became %v", err)
				}
			}
			if have, want := d.Quarantine.Counted()[BadPanic], 3*(i+1); have != want {
				t.Errorf("%d were counted, want %d", have, want)
			}
		}
		if n := told(); n != 2 {
			t.Errorf("%d were told, want one of each", n)
		}
		if err := try(func() error { return nil }); err != nil {
			t.Error(err)
		}
		for i := range 1000 {
			_ = try(func() error { panic(i) })
		}
		if n := told(); n > 64 {
			t.Errorf("%d were told", n)
		}
	})
}
