package life

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/site"
)

// admitting runs a test of a node with sites b0 to b2 beside a, each of which holds 100 MiB.
func admitting(t *testing.T, specs string, total uint64, test func(t *testing.T, w *world, d *daemon)) {
	inWorld(t, specs, func(t *testing.T, w *world, d *daemon, _ *Site) {
		w.others, w.memory, w.total = 3, 100<<20, total
		d.kill()
		*d = *w.start(specs)
		test(t, w, d)
	})
}

// last is the newest event of a kind.
func (d *daemon) last(t *testing.T, kind event.Kind) (last event.Event) {
	t.Helper()
	for ev, err := range d.Eventlog.Events(t.Context(), event.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Kind == kind && (last.Kind == "" || ev.Time.After(last.Time)) {
			last = ev
		}
	}
	return last
}

// TestWhoSleepsMakesRoomForAStart, who was idle for the longest first, and nobody else.
func TestWhoSleepsMakesRoomForAStart(t *testing.T) {
	admitting(t, "busy: false, tiers: [{tier: frozen, after: 2s}, {tier: cold, after: 9h}]", 330<<20, func(t *testing.T, _ *world, d *daemon) {
		for _, name := range []string{"b1", "a", "b0"} {
			d.serve(t, d.all[name], 750*time.Millisecond)
			d.goesOn(t, 10*time.Second)
		}
		d.serve(t, d.all["b2"], 750*time.Millisecond)
		for name, want := range map[string]detect.Tier{"b1": detect.TierCold, "a": detect.TierFrozen, "b0": detect.TierFrozen} {
			if got := d.tier(d.all[name]); got != want {
				t.Errorf("%s is %s, not %s: %q", name, got, want, d.kinds())
			}
		}
		if ev := d.last(t, event.Parked); ev.Site != "b1" || !strings.Contains(ev.Reason, "b2 is to start, for which ") || !strings.Contains(ev.Reason, "of memory are lacking") {
			t.Errorf("%s was parked: %s", ev.Site, ev.Reason)
		}
		if n := d.Admission.Refused(); n != 0 {
			t.Errorf("%d starts were refused", n)
		}
	})
}

// TestAStartWithoutMemoryIsRefused at once where nobody sleeps; who is awake stays, and when one of them is gone the next
// visitor is served.
func TestAStartWithoutMemoryIsRefused(t *testing.T) {
	admitting(t, "busy: false, tiers: [{tier: cold, after: 2s}]", 330<<20, func(t *testing.T, w *world, d *daemon) {
		var ids []bpf.ReplicaID
		for _, name := range []string{"a", "b0", "b1"} {
			d.visit(d.all[name])
			ids = append(ids, d.replicaOf(t, d.all[name]))
			d.listen(d.all[name], ids[len(ids)-1])
			d.visit(d.all[name])
		}
		_, before := w.counts()
		late := d.all["b2"]
		d.visit(late)
		pass(time.Second)
		if _, refused := w.counts(); refused == before || d.Admission.Refused() != 1 {
			t.Errorf("%d packets were refused, and %d starts: %q", refused-before, d.Admission.Refused(), d.kinds())
		}
		if ev := d.last(t, event.Failed); ev.Site != "b2" || !strings.Contains(ev.Reason, "the node has no memory for it") {
			t.Errorf("%+v", ev)
		}
		for _, name := range []string{"a", "b0", "b1"} {
			if got := d.phase(d.all[name]); got != site.Running {
				t.Errorf("%s is %s", name, got)
			}
		}
		w.leave(ids[0])
		d.goesOn(t, time.Minute)
		d.serve(t, late, 750*time.Millisecond)
		if n := d.Admission.Refused(); n != 1 {
			t.Errorf("%d starts were refused", n)
		}
	})
}

// TestSwapIsTheLastResort: where those who sleep can give nothing back it is the kernel that makes room.
func TestSwapIsTheLastResort(t *testing.T) {
	admitting(t, "busy: false, tiers: [{tier: frozen, after: 2s}]", 330<<20, func(t *testing.T, w *world, d *daemon) {
		w.swap = 80 << 20
		for _, name := range []string{"a", "b0", "b1", "b2"} {
			d.serve(t, d.all[name], 750*time.Millisecond)
			d.goesOn(t, 10*time.Second)
		}
		if n := d.Admission.Refused(); n != 0 {
			t.Errorf("%d starts were refused: %q", n, d.kinds())
		}
	})
}

// TestStartsAtOnceWaitForEachOther: what one was let in for is not there for the next, though it has taken none of it yet.
func TestStartsAtOnceWaitForEachOther(t *testing.T) {
	admitting(t, "busy: false", 140<<20, func(t *testing.T, w *world, d *daemon) {
		w.slow = make(chan struct{})
		all := []*Site{d.all["a"], d.all["b0"], d.all["b1"]} // 64 MiB are assumed of each
		for _, s := range all {
			d.visit(s)
		}
		pass(time.Second)
		if n := d.Admission.Refused(); n != 0 {
			t.Errorf("the last was refused, though what the others take is not known: %q", d.kinds())
		}
		close(w.slow)
		pass(time.Second)
		for _, s := range all[:2] {
			d.listen(s, d.replicaOf(t, s))
		}
		pass(time.Second)
		if n := d.Admission.Refused(); n != 1 {
			t.Errorf("there is no memory for the last, and %d were refused: %q", n, d.kinds())
		}
	})
}

// TestPreparedTakesTheRest: who waits at a gate holds nearly nothing of what the site takes when it runs, so a visitor is let
// in only as far as there is memory for that, and what was prepared makes room as what sleeps does.
func TestPreparedTakesTheRest(t *testing.T) {
	const specs = "idle: 30s, tiers: [prepared]"
	gone := func(t *testing.T, d *daemon, s *Site) {
		t.Helper()
		d.serve(t, s, 750*time.Millisecond)
		d.goesOn(t, 2*time.Minute)
		if !slices.Contains(d.kinds(), event.Prepared) {
			t.Fatalf("%s is not prepared: %q", s.Name, d.kinds())
		}
	}
	t.Run("is refused", func(t *testing.T) {
		admitting(t, specs, 230<<20, func(t *testing.T, w *world, d *daemon) {
			late := d.all["a"]
			gone(t, d, late)
			var ids []bpf.ReplicaID
			for _, name := range []string{"b0", "b1"} {
				d.visit(d.all[name])
				ids = append(ids, d.replicaOf(t, d.all[name]))
				d.listen(d.all[name], ids[len(ids)-1])
				d.visit(d.all[name])
			}
			_, before := w.counts()
			d.visit(late)
			pass(time.Second)
			if _, refused := w.counts(); refused == before || d.Admission.Refused() != 1 {
				t.Errorf("%d packets were refused, and %d starts: %q", refused-before, d.Admission.Refused(), d.kinds())
			}
			if ev := d.last(t, event.Failed); ev.Site != late.Name || !strings.Contains(ev.Reason, "the node has no memory for it") {
				t.Errorf("%+v", ev)
			}
			w.leave(ids[0])
			d.goesOn(t, 2*time.Minute)
			d.serve(t, late, 750*time.Millisecond)
		})
	})
	t.Run("is let in", func(t *testing.T) {
		admitting(t, specs, 230<<20, func(t *testing.T, w *world, d *daemon) {
			late := d.all["a"]
			gone(t, d, late)
			d.serve(t, late, 750*time.Millisecond)
			if n := d.Admission.Refused(); n != 0 || d.Admission.promised != 0 {
				t.Errorf("%d starts were refused, and %.0f bytes are promised still", n, d.Admission.promised)
			}
		})
	})
}
