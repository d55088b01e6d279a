package life

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/policy"
	"github.com/fcnode/fcnode/runtime/site"
)

// up wakes the site by a visitor and lets its first replica listen.
func (d *daemon) up(t *testing.T, s *Site) bpf.ReplicaID {
	t.Helper()
	d.visit(s)
	ids := d.w.ids()
	if len(ids) != 1 {
		t.Fatalf("a visitor came, and there are the replicas %v", ids)
	}
	d.listen(s, ids[0])
	return ids[0]
}

// pass lets time go by.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (d *daemon) phase(s *Site) (out site.Phase) {
	out = site.Parked
	s.With(func(l *Live) {
		if l.Activity != nil {
			out = l.Machine.Phase()
		}
	})
	return out
}

func wantKinds(t *testing.T, d *daemon, want ...event.Kind) {
	t.Helper()
	have := d.kinds()
	for _, k := range want {
		i := slices.Index(have, k)
		if i < 0 {
			t.Fatalf("the events are %q, want %q in this order", d.kinds(), want)
		}
		have = have[i+1:]
	}
}

// TestWakeAndPark: a held visitor is let in when somebody listens; when nobody has been there for long enough nothing is left.
func TestWakeAndPark(t *testing.T) {
	inWorld(t, "idle: 5m, tiers: [cold]", func(t *testing.T, w *world, d *daemon, s *Site) {
		d.visit(s)
		if released, _ := w.counts(); released != 0 || d.phase(s) != site.Waking {
			t.Fatalf("nobody listens yet: %d let in, %s", released, d.phase(s))
		}
		id := w.ids()[0]
		d.listen(s, id)
		if released, refused := w.counts(); released != 1 || refused != 0 {
			t.Fatalf("%d let in, %d refused", released, refused)
		}
		d.visit(s) // has a connection now
		pass(time.Hour)
		if d.phase(s) != site.Running {
			t.Fatalf("a visitor is there, and the site is %s", d.phase(s))
		}
		w.leave(id)
		pass(6 * time.Minute)
		if ids := w.ids(); !w.parked(s.ID) || len(ids) != 0 || d.phase(s) != site.Parked {
			t.Errorf("idle for six minutes: %s, replicas %v", d.phase(s), ids)
		}
		wantKinds(t, d, event.Waking, event.Running, event.Parked)
	})
}

// TestSleepAndKnock: a frozen replica keeps its place, and its first packet thaws it.
func TestSleepAndKnock(t *testing.T) {
	inWorld(t, "idle: 1m, tiers: [frozen]", func(t *testing.T, w *world, d *daemon, s *Site) {
		id := d.up(t, s)
		pass(2 * time.Minute)
		c := w.containers["a-1.1"]
		if frozen, _ := c.Frozen(); !frozen || w.parked(s.ID) {
			t.Fatalf("frozen: %v, parked: %v", frozen, w.parked(s.ID))
		}
		d.visit(s)
		if frozen, _ := c.Frozen(); frozen || d.phase(s) != site.Running {
			t.Errorf("a packet came to it; frozen: %v, %s", frozen, d.phase(s))
		}
		if ids := w.ids(); len(ids) != 1 || ids[0] != id {
			t.Errorf("the replicas are %v", ids)
		}
		wantKinds(t, d, event.Frozen, event.Waking, event.Running)
	})
}

// TestKilledReplica: a replica that is killed is replaced by the next visitor's.
func TestKilledReplica(t *testing.T) {
	inWorld(t, "idle: 1h", func(t *testing.T, w *world, d *daemon, s *Site) {
		id := d.up(t, s)
		pass(time.Minute)
		w.containers["a-1.1"].end(container.ExitStatus{Code: 137, Signal: "SIGKILL", OOMKilled: true})
		pass(time.Second)
		if len(w.ids()) != 0 || !w.parked(s.ID) {
			t.Fatalf("it was killed: replicas %v, parked %v", w.ids(), w.parked(s.ID))
		}
		if again := d.up(t, s); again == id {
			t.Errorf("%d was given out twice", id)
		}
		wantKinds(t, d, event.OutOfMemory, event.Exited, event.Waking, event.Running)
	})
}

// TestBrokenStart: visitors of a site that cannot start are refused, and it is not started by each of them.
func TestBrokenStart(t *testing.T) {
	inWorld(t, "idle: 1h", func(t *testing.T, w *world, d *daemon, s *Site) {
		w.broken = errors.New("exec format error")
		for range 10 {
			d.visit(s)
		}
		if released, refused := w.counts(); released != 0 || refused != 10 {
			t.Fatalf("%d let in, %d refused", released, refused)
		}
		starts := 0
		for _, k := range d.kinds() {
			if k == event.Waking {
				starts++
			}
		}
		if starts != 1 || len(w.ids()) != 0 {
			t.Errorf("%d starts, replicas %v", starts, w.ids())
		}
		w.broken = nil
		pass(time.Minute)
		d.up(t, s)
		wantKinds(t, d, event.NotWoken, event.Running)
	})
}

// TestNobodyListens: a start that comes to nothing is ended at its time.
func TestNobodyListens(t *testing.T) {
	inWorld(t, "idle: 1h, start: {timeout: 10s}", func(t *testing.T, w *world, d *daemon, s *Site) {
		d.visit(s)
		pass(11 * time.Second)
		if _, refused := w.counts(); refused != 1 || len(w.ids()) != 0 {
			t.Errorf("%d refused, replicas %v", refused, w.ids())
		}
		wantKinds(t, d, event.Waking, event.Failed)
	})
}

// TestCirculation: the old replica serves until the next one listens, then it drains and ends.
func TestCirculation(t *testing.T) {
	inWorld(t, "idle: 1h", func(t *testing.T, w *world, d *daemon, s *Site) {
		old := d.up(t, s)
		var err error
		s.With(func(l *Live) { err = l.Circulate("asked for") })
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ids := w.ids()
		if len(ids) != 2 {
			t.Fatalf("the replicas are %v", ids)
		}
		next := ids[1]
		d.listen(s, next)
		pass(time.Minute)
		if ids := w.ids(); len(ids) != 1 || ids[0] != next || ids[0] == old {
			t.Errorf("the replicas are %v, the next one was %d", ids, next)
		}
		wantKinds(t, d, event.Circulating, event.Draining, event.Running, event.Drained)
	})
}

// TestScaling: replicas come and go as they are asked for, and none is cut off.
func TestScaling(t *testing.T) {
	inWorld(t, "idle: 1h, scale: {min: 0, max: 3}", func(t *testing.T, w *world, d *daemon, s *Site) {
		d.up(t, s)
		ask := func(want int) {
			s.With(func(l *Live) { l.Scaled().Ask(site.ScaleAsked{Want: want, Reason: "a test"}) })
			synctest.Wait()
		}
		ask(3)
		for _, id := range w.ids()[1:] {
			d.listen(s, id)
		}
		if ids := w.ids(); len(ids) != 3 {
			t.Fatalf("three were asked for: %v", ids)
		}
		busy := w.ids()[0]
		w.mu.Lock()
		w.replicas[busy].stats.ConnsNow, w.replicas[busy].stats.ConnsUsed = 1, 1
		w.mu.Unlock()
		ask(1)
		pass(10 * time.Second)
		if ids := w.ids(); !slices.Contains(ids, busy) || len(ids) != 2 {
			t.Fatalf("one has a visitor still, one serves: %v", ids)
		}
		w.leave(busy)
		s.SocketEvent(bpf.Event{Kind: bpf.EventEmpty, Site: s.ID, Replica: busy})
		synctest.Wait()
		pass(time.Second)
		if ids := w.ids(); len(ids) != 1 || ids[0] == busy {
			t.Errorf("its visitor has left: %v", ids)
		}
	})
}

// TestDeletedWhileStarting: nothing is left of a site that is deleted in the middle of its start.
func TestDeletedWhileStarting(t *testing.T) {
	inWorld(t, "idle: 1h", func(t *testing.T, w *world, d *daemon, s *Site) {
		w.slow = make(chan struct{})
		d.visit(s)
		done := true
		s.With(func(l *Live) { done = l.Delete() })
		synctest.Wait()
		if done {
			t.Fatal("there was nothing to end")
		}
		if err := s.Wait(t.Context(), func(a *Activity) bool { return a == nil || len(a.Replicas) == 0 }); err != nil && !errors.Is(err, ErrParked) {
			t.Fatal(err)
		}
		s.With((*Live).Deleted)
		if _, refused := w.counts(); refused != 1 || len(w.ids()) != 0 || len(w.containers) != 0 {
			t.Errorf("%d refused, replicas %v", refused, w.ids())
		}
		if err := s.Wake("too late"); !errors.Is(err, ErrGone) {
			t.Errorf("it is woken all the same: %v", err)
		}
	})
}

// next starts the daemon after one that was killed, which adopts a replica.
func (d *daemon) next(t *testing.T, specs string, id bpf.ReplicaID, kernel bpf.Replica, set bpf.Site) *Site {
	t.Helper()
	w := d.w
	next := w.start(specs)
	*d = *next // what the test ends is the one that lives
	s := next.all["a"]
	stats, err := w.Stats(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := Adopt(s, site.ReplicaID(id), w.containers["a-1.1"], kernel, fakeNamespace{w}, stats, set); err != nil {
		t.Error(err)
	}
	s.With((*Live).AllAdopted)
	synctest.Wait()
	return s
}

// TestDaemonDies: replicas live on, and the next daemon takes them over as they are: serving, frozen, or changed meanwhile.
func TestDaemonDies(t *testing.T) {
	for name, c := range map[string]struct {
		before, after string
		asleep        bool
		phase         site.Phase
		kinds         []event.Kind
	}{
		"serving":          {before: "idle: 1h", after: "idle: 1h", phase: site.Running, kinds: []event.Kind{event.Adopted}},
		"frozen":           {before: "idle: 1m, tiers: [frozen]", after: "idle: 1m, tiers: [frozen]", asleep: true, phase: site.Parked, kinds: []event.Kind{event.Adopted}},
		"of an older spec": {before: "idle: 1h", after: "idle: 1h, env: {A: b}", phase: site.Running, kinds: []event.Kind{event.Adopted, event.Circulating}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, c.before, func(t *testing.T, w *world, d *daemon, s *Site) {
				id := d.up(t, s)
				if c.asleep {
					pass(2 * time.Minute)
				}
				kernel := w.replicas[id].kernel
				set := w.sites[s.ID]
				d.kill()
				s = d.next(t, c.after, id, kernel, set)
				if got := d.phase(s); got != c.phase || w.replicas[id] == nil {
					t.Errorf("the site is %s, want %s", got, c.phase)
				}
				wantKinds(t, d, c.kinds...)
				if c.asleep {
					d.visit(s)
					if d.phase(s) != site.Running {
						t.Errorf("a packet came, and the site is %s", d.phase(s))
					}
				}
			})
		})
	}
}

// TestDaemonStops: a daemon that is stopped while a container is being made waits for it, but not for ever. What is not made is
// no failure of its site, and whoever waits for it is refused by nobody: the next daemon sees to him.
func TestDaemonStops(t *testing.T) {
	for name, c := range map[string]struct {
		made  time.Duration // after the stop
		ends  time.Duration
		lives int
	}{
		"made soon":  {made: time.Second, ends: time.Second, lives: 1},
		"never made": {made: time.Hour, ends: finishWithin},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, "idle: 1h", func(t *testing.T, w *world, d *daemon, s *Site) {
				w.slow = make(chan struct{})
				d.visit(s)
				pass(time.Second)
				time.AfterFunc(c.made, func() { close(w.slow) })
				asked := time.Now()
				d.stop()
				if took := time.Since(asked); took != c.ends {
					t.Errorf("it has ended after %v, want %v", took, c.ends)
				}
				if len(w.containers) != c.lives || len(w.replicas) != c.lives {
					t.Errorf("it has left %d containers and %d replicas, want %d", len(w.containers), len(w.replicas), c.lives)
				}
				if _, refused := w.counts(); refused != 0 || w.sites[s.ID].Refuse {
					t.Errorf("it has refused %d visitors; the site is %+v", refused, w.sites[s.ID])
				}
				if f := s.failure(); f != nil {
					t.Errorf("the site has failed: %+v", f)
				}
				pass(time.Hour)
			})
		})
	}
}

// TestPreparedGate: what waits at its gate serves the next visitor, and is a new replica to nobody.
func TestPreparedGate(t *testing.T) {
	inWorld(t, "idle: 1m, tiers: [prepared]", func(t *testing.T, w *world, d *daemon, s *Site) {
		first := d.up(t, s)
		pass(2 * time.Minute)
		ids := w.ids()
		if len(ids) != 1 || ids[0] == first || !w.parked(s.ID) {
			t.Fatalf("after its idle time the replicas are %v, parked: %v", ids, w.parked(s.ID))
		}
		d.visit(s)
		d.listen(s, ids[0])
		if released, _ := w.counts(); released != 2 || d.phase(s) != site.Running {
			t.Errorf("%d let in, the site is %s", released, d.phase(s))
		}
		wantKinds(t, d, event.Prepared, event.Waking, event.Running)
	})
}

// TestCountersOnlyGrow: what was counted for replicas that have ended stays, over restarts of the daemon, and is
// there once where a daemon died before it had removed the replica.
func TestCountersOnlyGrow(t *testing.T) {
	inWorld(t, "idle: 1m, tiers: [cold]", func(t *testing.T, w *world, d *daemon, s *Site) {
		total := func(s *Site) (n uint64) {
			WithLearnt(s, func(l *Live, x *policy.Experience) {
				n = x.Ended.Load.ConnsTotal
				if l.Activity != nil {
					for _, r := range l.Machine.Replicas() {
						if st, err := w.Stats(bpf.ReplicaID(r.ID)); err == nil {
							n += st.ConnsTotal
						}
					}
				}
			})
			return n
		}
		want := func(s *Site, n uint64, when string) {
			t.Helper()
			if got := total(s); got != n {
				t.Fatalf("%s the site has %d connections, want %d", when, got, n)
			}
		}
		first := d.up(t, s)
		d.visit(s)
		d.visit(s)
		want(s, 2, "while its first replica runs")
		w.leave(first)
		pass(2 * time.Minute)
		if !w.parked(s.ID) {
			t.Fatal("the site is not parked")
		}
		want(s, 2, "parked")
		second := d.up(t, s)
		d.visit(s)
		want(s, 3, "while its second replica runs")
		kernel := w.replicas[second]
		w.leave(second)
		pass(2 * time.Minute)
		d.kill()
		next := w.start("idle: 1m, tiers: [cold]")
		*d = *next
		s = next.all["a"]
		want(s, 3, "with another daemon")
		w.mu.Lock()
		w.replicas[second] = kernel // as if the last daemon had died before it removed it
		w.mu.Unlock()
		s.CountEnded(site.ReplicaID(second))
		want(s, 3, "when its last replica was found again")
		w.mu.Lock()
		w.replicas[second+100] = kernel // one that ended while no daemon ran
		w.mu.Unlock()
		s.CountEnded(site.ReplicaID(second + 100))
		want(s, 4, "with what came while no daemon ran")
		w.mu.Lock()
		w.replicas = map[bpf.ReplicaID]*fakeReplica{}
		w.mu.Unlock()
	})
}

// TestPreparedAgain: what waited at a gate for the last daemon does so for the next one.
func TestPreparedAgain(t *testing.T) {
	const specs = "idle: 1m, tiers: [prepared]"
	inWorld(t, specs, func(t *testing.T, w *world, d *daemon, s *Site) {
		d.up(t, s)
		pass(2 * time.Minute)
		d.kill()
		for _, id := range w.ids() { // the gates end with their daemon
			_ = w.RemoveReplica(id, bpf.Replica{})
		}
		*d = *w.start(specs)
		d.PrepareAgain()
		pass(time.Second)
		wantKinds(t, d, event.Prepared)
		if s = d.all["a"]; s.Quarantined() || len(w.ids()) != 1 || !w.parked(s.ID) {
			t.Errorf("its replicas are %v, parked: %v, quarantined: %v", w.ids(), w.parked(s.ID), s.Quarantined())
		}
	})
}

// failure is the last of a site.
func (st *Site) failure() (f *event.Failure) {
	st.With(func(l *Live) { f = l.past().Failure })
	return f
}
