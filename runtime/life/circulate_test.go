package life

import (
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/event"
)

// circulates lets time go by, and looks each minute which sites are to be circulated.
func (d *daemon) circulates(t *testing.T, c *Circulator, span time.Duration) {
	t.Helper()
	for range span / CirculateLook {
		d.goesOn(t, CirculateLook)
		c.Look()
		pass(100 * time.Millisecond)
	}
}

// TestCirculatesWhileItSleeps: a site whose spec leaves the moment to the node is circulated in the last quarter of its time, while it
// sleeps; nobody is there, so it is started before somebody comes, and sleeps where it did.
func TestCirculatesWhileItSleeps(t *testing.T) {
	const specs = "busy: false, tiers: [{tier: frozen, after: 10s}], lifetime: {within: 4h, jitter: 0%}"
	inWorld(t, specs, func(t *testing.T, w *world, d *daemon, s *Site) {
		w.memory = 91 << 20
		d.serve(t, s, 750*time.Millisecond)
		first, c := d.replicaOf(t, s), NewCirculator(d.Host)
		for range 4 { // somebody comes every 40 minutes
			d.circulates(t, c, 40*time.Minute)
			d.serve(t, s, 750*time.Millisecond)
		}
		d.circulates(t, c, 15*time.Minute)
		if got := d.replicaOf(t, s); got != first || d.tier(s) != detect.TierFrozen {
			t.Fatalf("before its last quarter it is %d, %s: %q", got, d.tier(s), d.kinds())
		}
		m, ok := CirculationOf(s)
		if want := m.Born.Add(4 * time.Hour); !ok || !m.Latest.Equal(want) || m.After <= 0 || m.After > 10*time.Minute {
			t.Errorf("it is to be circulated %+v (%v)", m, ok)
		}
		for n := d.count(event.Waking); d.count(event.Waking) == n && time.Since(m.Born) < 4*time.Hour; {
			d.circulates(t, c, CirculateLook)
		}
		second := d.replicaOf(t, s)
		if second == first {
			t.Fatalf("it was not circulated: %q", d.kinds())
		}
		if ev := d.last(t, event.Waking); !strings.Contains(ev.Reason, "(lifetime): it sleeps, and nobody is expected soon") {
			t.Errorf("it was started: %s", ev.Reason)
		}
		d.listen(s, second)
		d.goesOn(t, time.Minute)
		if d.tier(s) != detect.TierFrozen {
			t.Errorf("nobody came, and it is %s: %q", d.tier(s), d.kinds())
		}
		d.circulates(t, c, 2*time.Hour)
		if got := d.replicaOf(t, s); got != second {
			t.Errorf("it was circulated once more: %q", d.kinds())
		}
	})
}

// TestASleeperIsNotStartedWithoutMemory, though somebody is expected: its replica is ended all the same, and its visitor starts
// it.
func TestASleeperIsNotStartedWithoutMemory(t *testing.T) {
	const specs = "busy: false, tiers: [{tier: frozen, after: 10s}], lifetime: {within: 4h, jitter: 0%}"
	inWorld(t, specs, func(t *testing.T, w *world, d *daemon, s *Site) {
		w.memory, w.total = 91<<20, 180<<20 // one more fits, but not for whom nobody waits
		d.serve(t, s, 750*time.Millisecond)
		c := NewCirculator(d.Host)
		for range 4 {
			d.circulates(t, c, 40*time.Minute)
			d.serve(t, s, 750*time.Millisecond)
		}
		woken := d.count(event.Waking)
		d.circulates(t, c, 30*time.Minute)
		if !w.parked(s.ID) || d.count(event.Waking) != woken {
			t.Errorf("it is %s: %q", d.tier(s), d.kinds())
		}
		d.serve(t, s, 750*time.Millisecond)
		if d.tier(s) != detect.TierRunning {
			t.Errorf("somebody came, and it is %s: %q", d.tier(s), d.kinds())
		}
	})
}

// TestCirculatesInItsQuietHour: a site that never sleeps is circulated in the hour in which the fewest came, by a fresh replica beside
// it; and never later than its time.
func TestCirculatesInItsQuietHour(t *testing.T) {
	const specs = "idle: never, lifetime: {within: 96h, jitter: 0%}"
	inWorld(t, specs, func(t *testing.T, w *world, d *daemon, s *Site) {
		d.serve(t, s, 750*time.Millisecond)
		first, c := d.replicaOf(t, s), NewCirculator(d.Host)
		for hour := range 24 {
			n := uint64(50)
			if hour == 5 {
				n = 1
			}
			d.Arrivals.record.Add(time.Now().UTC().Truncate(24*time.Hour).Add(time.Duration(hour)*time.Hour), s.Name, n)
		}
		begun := time.Time{}
		for range 97 * 60 {
			pass(time.Minute)
			if c.Look(); d.count(event.Circulating) > 0 {
				begun = time.Now().UTC()
				break
			}
		}
		if begun.Hour() != 5 || time.Since(w.epoch) < 72*time.Hour {
			t.Errorf("it was circulated at %s, after %s: %q", begun, time.Since(w.epoch), d.kinds())
		}
		pass(100 * time.Millisecond)
		var next bpf.ReplicaID
		for _, id := range w.ids() {
			if id != first {
				next = id
			}
		}
		d.listen(s, next)
		pass(time.Minute)
		if got := w.ids(); len(got) != 1 || got[0] != next {
			t.Errorf("it has replicas %v, want %d: %q", got, next, d.kinds())
		}
	})
}

// TestCirculatesWithinItsTime: each site somewhat sooner, by its name.
func TestCirculatesWithinItsTime(t *testing.T) {
	seen := map[time.Duration]bool{}
	for _, name := range []string{"a", "blog", "shop", "forum"} {
		s := parseLife(t, "lifetime: auto")
		s.Name = name
		within := circulatesWithin(s)
		if week := 7 * 24 * time.Hour; within > week || within < week*9/10 || seen[within] {
			t.Errorf("%s: within %s", name, within)
		}
		seen[within] = true
	}
	if within := circulatesWithin(parseLife(t, "lifetime: 1h")); within != 0 {
		t.Errorf("its spec says when, and it is circulated within %s", within)
	}
}
