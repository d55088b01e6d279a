package life

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/policy"
	"github.com/fcnode/fcnode/runtime/site"
)

// besideSpecs have all wakes late, and the price of waiting stays what it is at first.
const besideSpecs = "busy: false, tiers: [frozen, cold], objective: {late: 50%, over: 100ms}"

// besideHolds is so much memory that a site is soon cold.
const besideHolds = 8 << 30

// inChain runs a test of two sites: someone who comes to "a" has come to "b0" a second later, so many times, three hours apart.
func inChain(t *testing.T, times int, test func(t *testing.T, w *world, d *daemon, a, b *Site)) {
	t.Helper()
	inWorld(t, besideSpecs, func(t *testing.T, w *world, d *daemon, _ *Site) {
		w.others, w.memory = 1, besideHolds
		d.kill()
		*d = *w.start(besideSpecs)
		for name := range d.all {
			x := policy.NewExperience()
			x.Tier(detect.TierFrozen).Memory = besideHolds
			x.Tier(detect.TierCold).AddWake(750 * time.Millisecond)
			// Others have come at any time before, so that no plan knows when.
			rnd, in := rand.New(rand.NewPCG(1, 71)), d.Input(parseLife(t, besideSpecs), x)
			for in.Now = time.Now().Add(-1000 * time.Hour); ; {
				d.Plans.Visited(in, policy.Visits{Begin: in.Now, End: in.Now})
				if in.Now = in.Now.Add(time.Duration(math.Exp(7*rnd.Float64()) * float64(time.Minute))); in.Now.After(time.Now()) {
					break
				}
			}
			if err := d.Experiences.Put(name, x); err != nil {
				t.Fatal(err)
			}
		}
		a, b := d.all["a"], d.all["b0"]
		for range times {
			d.together(t, a, b)
		}
		test(t, w, d, a, b)
	})
}

// together has somebody come to both, when both are cold.
func (d *daemon) together(t *testing.T, a, b *Site) {
	t.Helper()
	d.serve(t, a, 750*time.Millisecond)
	pass(250 * time.Millisecond)
	d.serve(t, b, 750*time.Millisecond)
	d.apart(t)
}

// apart lets time go by until all are cold again, now a little and now much.
func (d *daemon) apart(t *testing.T) {
	t.Helper()
	gaps := []time.Duration{7 * time.Minute, 2 * time.Hour, 20 * time.Minute, 5 * time.Hour, 50 * time.Minute}
	d.goesOn(t, gaps[d.count(event.Running)%len(gaps)])
	for name, s := range d.all {
		if !d.w.parked(s.ID) {
			t.Fatalf("%s is %s: %q", name, d.tier(s), d.kinds())
		}
	}
}

// lastOf is the last event of a kind of a site.
func (d *daemon) lastOf(t *testing.T, s *Site, kind event.Kind) (out event.Event) {
	t.Helper()
	for ev, err := range d.Eventlog.Events(t.Context(), event.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Site == s.Name && ev.Kind == kind {
			out = ev
		}
	}
	return out
}

// comesTo has somebody come to the one, and says whether the other is woken beside it; both are up afterwards.
func (d *daemon) comesTo(t *testing.T, a, b *Site) (beside bool) {
	t.Helper()
	n := d.count(event.Waking)
	d.visit(a)
	beside = d.count(event.Waking)-n == 2
	pass(700 * time.Millisecond)
	if beside {
		d.listen(b, d.replicaOf(t, b))
	}
	id := d.replicaOf(t, a)
	d.listen(a, id)
	d.visit(a)
	a.SocketEvent(bpf.Event{Kind: bpf.EventFirstByte, Site: a.ID, Replica: id, Time: d.w.now()})
	synctest.Wait()
	d.w.leave(id)
	return beside
}

// TestWakesBeside: when visits to a site have followed those to another often enough it is woken beside that one, while its
// visitor waits; who follows finds it awake.
func TestWakesBeside(t *testing.T) {
	inChain(t, 8, func(t *testing.T, w *world, d *daemon, a, b *Site) {
		woken := d.Ahead.Counts()
		if !d.comesTo(t, a, b) {
			t.Fatalf("it is not woken: %+v, %q", d.Plans.Follows(uint32(b.ID)), d.kinds())
		}
		if ev := d.lastOf(t, b, event.Waking); !strings.HasPrefix(ev.Reason, "beside a: ") || !strings.HasSuffix(ev.Reason, " were followed by a visit within 5s") {
			t.Errorf("%+v", ev)
		}
		pass(300 * time.Millisecond)
		d.serve(t, b, 0) // the fake fails if it has to be started
		d.goesOn(t, 3*time.Second)
		d.wants(t, AheadCounts{Came: woken.Came + 1, Nobody: woken.Nobody})
		if ev := d.last(t, event.Ahead); ev.Site != "b0" || ev.Fields["came"] != true || ev.Fields["beside"] != "a" {
			t.Errorf("%+v", ev)
		}
		d.apart(t)
		if f := d.Plans.Follows(uint32(b.ID)); len(f) != 1 || f[0].Site != uint32(a.ID) || !f[0].Woken || f[0].Lag < 500*time.Millisecond || f[0].Lag > 1500*time.Millisecond {
			t.Errorf("it is known of it: %+v", f)
		}
	})
}

// TestNobodyFollowed: it sleeps as before some seconds later, is counted, and is not woken for nothing again and again.
func TestNobodyFollowed(t *testing.T) {
	inChain(t, 8, func(t *testing.T, w *world, d *daemon, a, b *Site) {
		before := d.Ahead.Counts()
		needless := 0
		for range 20 {
			if d.comesTo(t, a, b) {
				needless++
				d.goesOn(t, 4*time.Second)
				if d.tier(b) != detect.TierRunning {
					t.Errorf("it waits as %s", d.tier(b))
				}
				d.goesOn(t, time.Minute)
				if !w.parked(b.ID) {
					t.Errorf("nobody came, and it is %s: %q", d.tier(b), d.kinds())
				}
			}
			d.apart(t)
		}
		if needless == 0 || needless > 9 {
			t.Errorf("it was woken for nothing %d times", needless)
		}
		d.wants(t, AheadCounts{Came: before.Came, Nobody: before.Nobody + uint64(needless)})
		if ev := d.last(t, event.Ahead); ev.Fields["came"] != false {
			t.Errorf("%+v", ev)
		}
		d.together(t, a, b) // and its visitors are served as ever
	})
}

// TestNobodyIsWokenBesideWithoutMemory.
func TestNobodyIsWokenBesideWithoutMemory(t *testing.T) {
	inChain(t, 8, func(t *testing.T, w *world, d *daemon, a, b *Site) {
		before := d.Ahead.Counts()
		w.total = besideHolds * 3 / 2 // for one, for whom somebody waits
		if d.comesTo(t, a, b) {
			t.Errorf("it was woken: %q", d.kinds())
		}
		d.wants(t, AheadCounts{Came: before.Came, Nobody: before.Nobody, Skipped: before.Skipped + 1})
	})
}

// TestWhoIsParkedByHandIsNotWokenBeside another.
func TestWhoIsParkedByHandIsNotWokenBeside(t *testing.T) {
	inChain(t, 8, func(t *testing.T, w *world, d *daemon, a, b *Site) {
		d.serve(t, b, 750*time.Millisecond)
		d.goesOn(t, 2*time.Second)
		b.Send(site.ParkAsked{Reason: "a test wants it"})
		d.apart(t)
		if d.comesTo(t, a, b) {
			t.Errorf("it was woken: %q", d.kinds())
		}
	})
}

// TestTheNextDaemonWakesBeside: what has followed is known to it, if the one before was killed when that was on disk.
func TestTheNextDaemonWakesBeside(t *testing.T) {
	inChain(t, 8, func(t *testing.T, w *world, d *daemon, _, _ *Site) {
		d.kill()
		*d = *w.start(besideSpecs)
		d.goesOn(t, time.Minute)
		if !d.comesTo(t, d.all["a"], d.all["b0"]) {
			t.Errorf("it is not woken: %q", d.kinds())
		}
		// Killed in the middle: what runs is adopted or gone, and visitors are served.
		d.kill()
		w.mu.Lock()
		w.replicas, w.containers = map[bpf.ReplicaID]*fakeReplica{}, map[string]*fakeContainer{}
		w.mu.Unlock()
		*d = *w.start(besideSpecs)
		d.together(t, d.all["a"], d.all["b0"])
	})
}
