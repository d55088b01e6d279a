package life

import (
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/event"
)

// TestWakeWithoutVisitor: of a wake that nobody uses nothing is left within seconds, and one SYN a second keeps no site awake; a
// visitor who comes to it meanwhile does.
func TestWakeWithoutVisitor(t *testing.T) {
	for name, specs := range map[string]string{"cold": "idle: 5m, tiers: [cold]", "frozen": "tiers: [{tier: frozen, after: 5m}]"} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, specs, func(t *testing.T, w *world, d *daemon, s *Site) {
				w.strangers = true
				wakes := d.count(event.Waking)
				d.up(t, s)
				kind := event.Parked
				if name == "frozen" {
					kind = event.Frozen
				}
				asleep := func() bool { return d.count(kind) > 0 }
				for i := range 30 { // goes on for as long as a real one would take to give up
					if asleep() {
						if i < 10 {
							t.Errorf("asleep %d s after its wake: who has woken it had no time to come", i)
						}
						break
					}
					pass(time.Second)
					if d.phase(s) == "running" {
						d.visit(s)
					}
				}
				if !asleep() {
					t.Fatalf("a SYN a second keeps the site awake: %q", d.kinds())
				}
				if got := d.count(event.Waking) - wakes; got != 1 {
					t.Errorf("%d wakes until then, want 1: %q", got, d.kinds())
				}
			})
		})
	}
}

// TestWakeIsUsed: whoever uses a site that a stranger has woken keeps it awake for the whole of its idle time.
func TestWakeIsUsed(t *testing.T) {
	inWorld(t, "idle: 5m, tiers: [cold]", func(t *testing.T, w *world, d *daemon, s *Site) {
		w.strangers = true
		id := d.up(t, s)
		pass(9 * time.Second)
		w.strangers = false
		d.visit(s)
		w.leave(id)
		pass(4*time.Minute + 50*time.Second)
		if d.phase(s) != "running" {
			t.Fatalf("it has had a visitor, and is %s after less than its idle time", d.phase(s))
		}
		pass(20 * time.Second)
		if d.phase(s) != "parked" {
			t.Errorf("idle for all of its time: %s", d.phase(s))
		}
	})
}
