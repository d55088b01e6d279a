package life

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/site"
)

func (d *daemon) pause(t *testing.T, s *Site) (resume func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	resume, err := Pause(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	return resume
}

// TestPauseRunning: nothing runs, sleeps deeper, is stopped or found unhealthy in a pause, and all goes on after it.
func TestPauseRunning(t *testing.T) {
	inWorld(t, "idle: 5m, tiers: [cold], health: {tcp: 80, every: 10s}", func(t *testing.T, w *world, d *daemon, s *Site) {
		id := d.up(t, s)
		c := w.containerOf(id)
		resume := d.pause(t, s)
		if frozen, _ := c.Frozen(); !frozen {
			t.Fatal("its processes run")
		}
		if _, err := Pause(t.Context(), s); !errors.Is(err, ErrPaused) {
			t.Errorf("a second pause: %v", err)
		}
		pass(4 * time.Minute)
		if d.phase(s) != site.Running {
			t.Fatalf("it is %s; %q", d.phase(s), d.kinds())
		}
		s.Send(site.ParkAsked{Reason: "asked", Force: true})
		pass(time.Minute)
		if _, ended := c.Exit(); ended {
			t.Fatal("it was stopped, which lets it run before its end")
		}
		resume()
		synctest.Wait()
		if _, ended := c.Exit(); !ended || !w.parked(s.ID) {
			t.Errorf("it was not stopped after the pause: %s", d.phase(s))
		}
		wantKinds(t, d, event.Running, event.Parked)
	})
}

// TestPauseThaws: what ran before runs again, and what slept sleeps on.
func TestPauseThaws(t *testing.T) {
	inWorld(t, "idle: 5m, tiers: [frozen]", func(t *testing.T, w *world, d *daemon, s *Site) {
		c := w.containerOf(d.up(t, s))
		frozen := func(when string, want bool) {
			t.Helper()
			if is, _ := c.Frozen(); is != want {
				t.Fatalf("%s: frozen %v", when, is)
			}
		}
		resume := d.pause(t, s)
		frozen("paused", true)
		resume()
		frozen("after it", false)
		pass(6 * time.Minute)
		frozen("asleep", true)
		resume = d.pause(t, s)
		d.visit(s) // knocks
		pass(10 * time.Minute)
		frozen("knocked at in a pause", true)
		resume()
		synctest.Wait()
		frozen("after that", false)
		if d.phase(s) != site.Running {
			t.Errorf("it is %s", d.phase(s))
		}
		resume() // once is enough
	})
}

// TestPauseStart: who comes to a parked site in a pause waits for its end, with all of the start's time after it.
func TestPauseStart(t *testing.T) {
	inWorld(t, "idle: 5m, tiers: [cold], start: {timeout: 30s}", func(t *testing.T, w *world, d *daemon, s *Site) {
		resume := d.pause(t, s)
		d.visit(s)
		pass(29 * time.Second)
		if n := len(w.containers); n != 0 {
			t.Fatalf("%d containers were started", n)
		}
		pass(10 * time.Minute)
		resume()
		synctest.Wait()
		pass(29 * time.Second)
		if len(w.ids()) != 1 || d.phase(s) != site.Waking {
			t.Fatalf("after it: %v, %s, %q", w.ids(), d.phase(s), d.kinds())
		}
		d.listen(s, w.ids()[0])
		if released, refused := w.counts(); released != 1 || refused != 0 {
			t.Errorf("%d let in, %d refused", released, refused)
		}
	})
}

// TestPauseNoRest: a site that is being started is waited for, not for ever, and is none the worse for it.
func TestPauseNoRest(t *testing.T) {
	inWorld(t, "idle: 5m, tiers: [cold], start: {timeout: 30s}", func(t *testing.T, w *world, d *daemon, s *Site) {
		d.visit(s)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := Pause(ctx, s); !errors.Is(err, ErrNoRest) {
			t.Fatalf("%v", err)
		}
		paused := make(chan error, 1)
		go func() {
			resume, err := Pause(t.Context(), s)
			if err == nil {
				resume()
			}
			paused <- err
		}()
		pass(time.Second)
		d.listen(s, w.ids()[0])
		if err := <-paused; err != nil {
			t.Error(err)
		}
		if frozen, _ := w.containerOf(w.ids()[0]).Frozen(); frozen || d.phase(s) != site.Running {
			t.Errorf("frozen %v, %s", frozen, d.phase(s))
		}
	})
}

// TestPauseStopping: a replica that was in a pause and is stopped now is not at rest, and has all of its grace.
func TestPauseStopping(t *testing.T) {
	inWorld(t, "idle: 5m, tiers: [cold], stop: {grace: 20s}", func(t *testing.T, w *world, d *daemon, s *Site) {
		c := w.containerOf(d.up(t, s))
		d.pause(t, s)()
		c.deaf = true
		s.Send(site.ParkAsked{Reason: "asked", Force: true})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if resume, err := Pause(ctx, s); err == nil {
			resume()
			t.Error("it was paused while a replica ended")
		} else if !errors.Is(err, ErrNoRest) {
			t.Error(err)
		}
		d.pause(t, s)()
		if _, ended := c.Exit(); !ended || !w.parked(s.ID) {
			t.Errorf("it has not ended: %s", d.phase(s))
		}
	})
}

// TestPauseDaemonDies: the next daemon lets run what ran before the pause, and nothing else.
func TestPauseDaemonDies(t *testing.T) {
	for _, asleep := range []bool{false, true} {
		inWorld(t, "idle: 5m, tiers: [frozen]", func(t *testing.T, w *world, d *daemon, s *Site) {
			id := d.up(t, s)
			if asleep {
				pass(6 * time.Minute)
			}
			d.pause(t, s)
			kernel, set := w.replicas[id].kernel, w.sites[s.ID]
			d.kill()
			s = d.next(t, "idle: 5m, tiers: [frozen]", id, kernel, set)
			if frozen, _ := w.containerOf(id).Frozen(); frozen != asleep {
				t.Errorf("it slept: %v, and is frozen: %v", asleep, frozen)
			}
			d.visit(s)
			if frozen, _ := w.containerOf(id).Frozen(); frozen || d.phase(s) != site.Running {
				t.Errorf("a visitor came, and it is frozen: %v, %s", frozen, d.phase(s))
			}
		})
	}
}

// TestEmpty: a site is emptied by force only if it is awake, and visitors wait until it is opened again.
func TestEmpty(t *testing.T) {
	inWorld(t, "idle: 5m, tiers: [frozen]", func(t *testing.T, w *world, d *daemon, s *Site) {
		c := w.containerOf(d.up(t, s))
		if _, err := Empty(t.Context(), s, "restored", false); !errors.Is(err, ErrAwake) {
			t.Fatalf("awake: %v", err)
		}
		pass(6 * time.Minute) // it sleeps frozen
		reopen, err := Empty(t.Context(), s, "restored", false)
		if err != nil {
			t.Fatal(err)
		}
		if _, ended := c.Exit(); !ended {
			t.Fatal("what slept is there")
		}
		d.visit(s)
		pass(time.Minute)
		if ids := w.ids(); len(ids) != 0 {
			t.Fatalf("started meanwhile: %v", ids)
		}
		reopen()
		synctest.Wait()
		if len(w.ids()) != 1 {
			t.Fatalf("not started after it: %q", d.kinds())
		}
		d.listen(s, w.ids()[0])
		if reopen, err = Empty(t.Context(), s, "restored", true); err != nil {
			t.Fatal(err)
		}
		reopen()
		if !w.parked(s.ID) {
			t.Errorf("by force it is %s", d.phase(s))
		}
	})
}
