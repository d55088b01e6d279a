package life

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/policy"
	"github.com/fcnode/fcnode/runtime/site"
)

const aheadSpecs = "busy: false, tiers: [frozen, cold]"

// everyThreeHours has the node know of its sites that somebody comes every three hours, the last time now.
func (d *daemon) everyThreeHours(t *testing.T) (rise policy.Rise) {
	t.Helper()
	for name := range d.all {
		x, s := policy.NewExperience(), parseLife(t, aheadSpecs)
		x.Tier(detect.TierFrozen).Memory = 91 << 20
		x.Tier(detect.TierCold).AddWake(750 * time.Millisecond)
		for i := range 200 {
			in := d.Input(s, x)
			in.Now = time.Now().Add(-time.Duration(199-i) * 3 * time.Hour)
			d.Plans.Visited(in, policy.Visits{Begin: in.Now, End: in.Now}) // of no requests, which would move the price
		}
		if err := d.Experiences.Put(name, x); err != nil {
			t.Fatal(err)
		}
		var ok bool
		if rise, ok = d.Plans.Rise(d.Input(s, x), 0); !ok {
			t.Fatal("nobody is woken ahead")
		}
	}
	return rise
}

// inAheadOf runs a test of sites to which somebody comes every three hours, and has just been.
func inAheadOf(t *testing.T, others int, test func(t *testing.T, w *world, d *daemon, s *Site, rise policy.Rise)) {
	t.Helper()
	inWorld(t, aheadSpecs, func(t *testing.T, w *world, d *daemon, s *Site) {
		w.others, w.memory = others, 91<<20
		d.kill()
		*d = *w.start(aheadSpecs)
		rise := d.everyThreeHours(t)
		for _, name := range slices.Sorted(maps.Keys(d.all)) {
			d.serve(t, d.all[name], 750*time.Millisecond)
		}
		d.goesOn(t, time.Minute)
		for name, s := range d.all {
			if !w.parked(s.ID) {
				t.Fatalf("%s is %s: %q", name, d.tier(s), d.kinds())
			}
		}
		test(t, w, d, d.all["a"], rise)
	})
}

// untilWaking lets time go by until a site is woken, but for no longer than a time, and says how long that was.
func (d *daemon) untilWaking(t *testing.T, most time.Duration) (took time.Duration) {
	t.Helper()
	for n := d.count(event.Waking); d.count(event.Waking) == n; took += time.Second {
		if took >= most {
			t.Fatalf("nobody is woken: %q", d.kinds())
		}
		d.goesOn(t, time.Second)
	}
	return took
}

// wants says what is to have come of those who were woken ahead.
func (d *daemon) wants(t *testing.T, want AheadCounts) {
	t.Helper()
	if got := d.Ahead.Counts(); got != want {
		t.Errorf("of those who were woken ahead %+v, want %+v: %q", got, want, d.kinds())
	}
}

// TestWakesAhead: a site is woken at the moment of its plan, and waits frozen for its visitor, who finds it so.
func TestWakesAhead(t *testing.T) {
	inAheadOf(t, 0, func(t *testing.T, w *world, d *daemon, s *Site, rise policy.Rise) {
		woken := d.count(event.Waking)
		d.goesOn(t, rise.After-2*time.Minute)
		if d.count(event.Waking) != woken {
			t.Fatalf("it was woken before its moment: %q", d.kinds())
		}
		d.untilWaking(t, 2*time.Minute)
		if ev := d.last(t, event.Waking); d.count(event.Waking) != woken+1 || !strings.HasPrefix(ev.Reason, "ahead of a visit: its plan has it frozen from 2h42m22s") {
			t.Fatalf("it was woken: %s: %q %+v", ev.Reason, d.kinds(), d.last(t, event.Quarantined))
		}
		d.listen(s, d.replicaOf(t, s))
		d.goesOn(t, 10*time.Second)
		if d.tier(s) != detect.TierFrozen {
			t.Fatalf("it waits as %s: %q", d.tier(s), d.kinds())
		}
		d.wants(t, AheadCounts{})
		d.serve(t, s, 750*time.Millisecond) // the fake fails if it has to be started
		d.goesOn(t, 3*time.Second)
		d.wants(t, AheadCounts{Came: 1})
		if ev := d.last(t, event.Ahead); ev.Fields["came"] != true || !strings.HasPrefix(ev.Reason, "somebody came ") {
			t.Errorf("%+v", ev)
		}
		d.goesOn(t, time.Minute)
		if !w.parked(s.ID) {
			t.Errorf("its visitor has left, and it is %s: %q", d.tier(s), d.kinds())
		}
	})
}

// TestNobodyCame: it sleeps deep again by its plan, is counted, and is not woken once more before somebody was there.
func TestNobodyCame(t *testing.T) {
	inAheadOf(t, 0, func(t *testing.T, w *world, d *daemon, s *Site, rise policy.Rise) {
		took := d.untilWaking(t, rise.After)
		d.listen(s, d.replicaOf(t, s))
		d.goesOn(t, rise.Until-took-3*time.Minute)
		if d.tier(s) != detect.TierFrozen {
			t.Errorf("before its time is over it is %s: %q", d.tier(s), d.kinds())
		}
		d.goesOn(t, 4*time.Minute)
		if !w.parked(s.ID) {
			t.Errorf("after it it is %s: %q", d.tier(s), d.kinds())
		}
		woken := d.count(event.Waking)
		d.goesOn(t, 3*time.Hour)
		d.wants(t, AheadCounts{Nobody: 1})
		if d.count(event.Waking) != woken {
			t.Errorf("it was woken once more: %q", d.kinds())
		}
		if ev := d.last(t, event.Ahead); ev.Fields["came"] != false {
			t.Errorf("%+v", ev)
		}
	})
}

// TestNobodyIsWokenAheadWithoutMemory, and nobody sleeps deeper for it.
func TestNobodyIsWokenAheadWithoutMemory(t *testing.T) {
	inAheadOf(t, 0, func(t *testing.T, w *world, d *daemon, s *Site, rise policy.Rise) {
		w.total = 180 << 20 // one more fits, but not for whom nobody waits
		woken := d.count(event.Waking)
		d.goesOn(t, rise.Until)
		d.wants(t, AheadCounts{Skipped: 1})
		if d.count(event.Waking) != woken {
			t.Errorf("it was woken: %q", d.kinds())
		}
		d.serve(t, s, 750*time.Millisecond)
	})
}

// TestAVisitorComesInTheMiddle of a wake ahead: it is his wake, and what comes after is as ever.
func TestAVisitorComesInTheMiddle(t *testing.T) {
	inAheadOf(t, 0, func(t *testing.T, w *world, d *daemon, s *Site, rise policy.Rise) {
		w.slow = make(chan struct{})
		d.untilWaking(t, rise.After)
		id := d.replicaOf(t, s)
		d.visit(s)
		pass(time.Second)
		if got := d.replicaOf(t, s); got != id {
			t.Errorf("another replica was started for him: %q", d.kinds())
		}
		close(w.slow)
		d.serveHeld(t, s)
		d.goesOn(t, 3*time.Second)
		if released, _ := w.counts(); released == 0 {
			t.Error("he was not let in")
		}
		d.wants(t, AheadCounts{Came: 1})
		d.goesOn(t, time.Minute)
		if !w.parked(s.ID) {
			t.Errorf("he has left, and it is %s: %q", d.tier(s), d.kinds())
		}
	})
}

// TestFewAreWokenAheadAtOnce, in an hour no more than the configuration says, and each of them in the end.
func TestFewAreWokenAheadAtOnce(t *testing.T) {
	inAheadOf(t, 7, func(t *testing.T, w *world, d *daemon, _ *Site, rise policy.Rise) {
		w.slow = make(chan struct{})
		woken := d.count(event.Waking)
		d.untilWaking(t, rise.After)
		d.goesOn(t, 20*time.Second)
		if n := d.count(event.Waking) - woken; n > aheadAtOnce {
			t.Errorf("%d are on their way at once", n)
		}
		close(w.slow)
		for range len(d.all) * 2 {
			for _, s := range d.all {
				if !w.parked(s.ID) && w.parkedPort(d.replicaOf(t, s)) {
					d.listen(s, d.replicaOf(t, s))
				}
			}
			d.goesOn(t, time.Second)
		}
		if n := d.count(event.Waking) - woken; n != len(d.all) {
			t.Errorf("%d of %d were woken", n, len(d.all))
		}
	})
}

// TestTheNextDaemonWakesAhead, whenever the one before it was killed: its plans are made anew.
func TestTheNextDaemonWakesAhead(t *testing.T) {
	inAheadOf(t, 0, func(t *testing.T, w *world, d *daemon, _ *Site, rise policy.Rise) {
		d.goesOn(t, time.Hour)
		d.kill()
		*d = *w.start(aheadSpecs)
		w.slow = make(chan struct{})
		d.untilWaking(t, rise.After-time.Hour)
		d.replicaOf(t, d.all["a"])
		d.kill() // in the middle
		w.mu.Lock()
		w.slow, w.replicas, w.containers = nil, map[bpf.ReplicaID]*fakeReplica{}, map[string]*fakeContainer{}
		w.mu.Unlock()
		*d = *w.start(aheadSpecs)
		d.untilWaking(t, time.Minute)
		s := d.all["a"]
		d.listen(s, d.replicaOf(t, s))
		d.goesOn(t, 10*time.Second)
		if d.tier(s) != detect.TierFrozen {
			t.Errorf("it waits as %s: %q", d.tier(s), d.kinds())
		}
	})
}

// TestWhoIsParkedByHandIsNotWokenAhead.
func TestWhoIsParkedByHandIsNotWokenAhead(t *testing.T) {
	inAheadOf(t, 0, func(t *testing.T, w *world, d *daemon, s *Site, rise policy.Rise) {
		d.serve(t, s, 750*time.Millisecond)
		d.goesOn(t, 2*time.Second)
		s.Send(site.ParkAsked{Reason: "a test wants it"})
		woken := d.count(event.Waking)
		d.goesOn(t, rise.Until)
		if d.count(event.Waking) != woken {
			t.Errorf("it was woken: %q", d.kinds())
		}
	})
}
