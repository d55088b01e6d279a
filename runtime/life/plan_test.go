package life

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/policy"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// goesOn lets time go by on a node that does what it does from time to time.
func (d *daemon) goesOn(t *testing.T, after time.Duration) {
	t.Helper()
	for range after / time.Second {
		<-time.After(time.Second)
		synctest.Wait()
		d.Arrivals.Read()
		d.Budget.Look()
		d.Ahead.Look()
		if time.Since(d.w.epoch)%policy.Every < time.Second {
			d.NewLadders()
		}
		synctest.Wait()
	}
}

// serve lets somebody come to a site, who is answered when it is awake, and leaves. A cold
// start takes a time.
func (d *daemon) serve(t *testing.T, s *Site, cold time.Duration) {
	t.Helper()
	w := d.w
	wake := map[detect.Tier]time.Duration{detect.TierFrozen: time.Millisecond, detect.TierReclaimed: 30 * time.Millisecond, detect.TierCold: cold}[d.tier(s)]
	d.visit(s)
	var id bpf.ReplicaID
	s.With(func(l *Live) {
		if l.Activity == nil {
			t.Fatalf("somebody came to %s, and it is parked", s.Name)
		}
		for _, m := range l.Machine.Replicas() {
			if m.State == site.Starting || m.State == site.Ready {
				id = bpf.ReplicaID(m.ID)
			}
		}
	})
	pass(wake)
	if w.parkedPort(id) {
		d.listen(s, id)
		pass(time.Millisecond)
		d.visit(s) // the packet that was held
	}
	s.SocketEvent(bpf.Event{Kind: bpf.EventFirstByte, Site: s.ID, Replica: id, Time: w.now()})
	synctest.Wait()
	w.leave(id)
}

// parkedPort says whether nobody listens in a replica yet.
func (w *world) parkedPort(id bpf.ReplicaID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.replicas[id] != nil && w.replicas[id].stats.Ready4 == 0
}

// tier is that of the site's only replica.
func (d *daemon) tier(s *Site) detect.Tier {
	out := detect.TierCold
	s.With(func(l *Live) {
		if l.Activity != nil {
			for _, m := range l.Machine.Replicas() {
				out = m.Tier
			}
		}
	})
	return out
}

// TestSleepsByItsPlan: a site of which nothing is said sleeps within seconds of its last visitor, and goes deeper by its plan; what
// a spec says of its idle time and its tiers is kept to the second.
func TestSleepsByItsPlan(t *testing.T) {
	inWorld(t, "busy: false", func(t *testing.T, w *world, d *daemon, s *Site) {
		w.memory = 91 << 20
		d.serve(t, s, 700*time.Millisecond)
		d.goesOn(t, 4*time.Second)
		if got := d.tier(s); got != detect.TierRunning {
			t.Fatalf("4 s after its visitor it is %s", got)
		}
		d.goesOn(t, 4*time.Second)
		if got := d.tier(s); got != detect.TierFrozen {
			t.Fatalf("8 s after its visitor it is %s: %q", got, d.kinds())
		}
		d.goesOn(t, 6*time.Hour)
		if !w.parked(s.ID) {
			t.Errorf("nobody came for hours, and it is %s: %q", d.tier(s), d.kinds())
		}
	})
	for specs, want := range map[string]time.Duration{"idle: 5m, tiers: [cold], busy: false": 5 * time.Minute, "tiers: [{tier: frozen, after: 40s}], busy: false": 40 * time.Second} {
		inWorld(t, specs, func(t *testing.T, w *world, d *daemon, s *Site) {
			d.serve(t, s, 10*time.Millisecond)
			d.goesOn(t, want-2*time.Second)
			if got := d.phase(s); got != site.Running {
				t.Errorf("%s: it is %s before its time", specs, got)
			}
			d.goesOn(t, 4*time.Second)
			if got := d.phase(s); got != site.Parked {
				t.Errorf("%s: it is %s after its time", specs, got)
			}
		})
	}
}

// TestLateWakesMoveThePrice of the site's class, by what visitors have waited, who was held for somebody else's wake among
// them; the next daemon goes on with it, also after kill -9.
func TestLateWakesMoveThePrice(t *testing.T) {
	const specs = "class: gold, tiers: [frozen, cold], busy: false"
	inWorld(t, specs, func(t *testing.T, w *world, d *daemon, s *Site) {
		w.config = func(c *config.Config) {
			c.Classes["gold"] = config.Class{Late: 1, Over: spec.Duration(50 * time.Millisecond)}
		}
		d.kill()
		*d = *w.start(specs)
		s = d.all["a"]
		d.goesOn(t, time.Second)
		gold := func() policy.Steered { return d.Plans.Prices()["gold"] }
		park := func() {
			s.Send(site.ParkAsked{Reason: "a test wants it", Force: true})
			d.goesOn(t, 2*time.Second)
			if !w.parked(s.ID) {
				t.Fatal("it is not parked")
			}
		}
		d.serve(t, s, 20*time.Millisecond)
		d.goesOn(t, 2*time.Second)
		quick := gold()
		if quick.Late != 0 || quick.Requests == 0 || quick.Visit() > 600 {
			t.Errorf("of a wake of 20 ms: %+v", quick)
		}
		park()
		d.serve(t, s, 300*time.Millisecond)
		d.goesOn(t, 2*time.Second)
		slow := gold()
		if slow.Late != 1 || slow.Visit() <= quick.Visit() {
			t.Errorf("of a wake of 300 ms: %+v, before %+v", slow, quick)
		}
		park()
		d.visit(s)
		pass(200 * time.Millisecond)
		other := bpf.HeldPacket{Site: s.ID, VIP: netip.AddrPortFrom(s.Addr4, 80), Client: netip.MustParseAddrPort("203.0.113.10:1"), Proto: bpf.TCP, Time: w.now()}
		d.Held(other)
		d.Held(other) // once more
		pass(100 * time.Millisecond)
		other.Client, other.Time = netip.MustParseAddrPort("203.0.113.11:1"), w.now()
		d.Held(other) // he does not wait for long
		d.serveHeld(t, s)
		d.goesOn(t, 12*time.Second)
		held := gold()
		if got := held.Late + held.Waiting - slow.Late; got != 2 {
			t.Errorf("%d were late of a wake for which two have waited for long: %+v", got, held)
		}
		d.kill() // kill -9: nothing is kept on its way out
		*d = *w.start(specs)
		if next := gold(); next.Visit() != held.Visit() || next.Late != held.Late {
			t.Errorf("the next daemon has %+v, want %+v", next, held)
		}
		w.replicas = nil
	})
}

// serveHeld lets the replica that starts listen, and answer.
func (d *daemon) serveHeld(t *testing.T, s *Site) {
	t.Helper()
	ids := d.w.ids()
	d.listen(s, ids[len(ids)-1])
	d.visit(s)
	s.SocketEvent(bpf.Event{Kind: bpf.EventFirstByte, Site: s.ID, Replica: ids[len(ids)-1], Time: d.w.now()})
	synctest.Wait()
	d.w.leave(ids[len(ids)-1])
}

// TestTheBudgetDoesNotThrash: sites whose working set is half as much again as they may hold, visited again and again, monitors
// among them, stay within it: a visit sends one other away at most, to the tier reclaimed, as that suffices; and when memory has
// become as dear as it is, plans make the room that evictions had to make.
func TestTheBudgetDoesNotThrash(t *testing.T) {
	const sites, each, left = 12, 91 << 20, 27 << 20
	const budget = sites * each * 2 / 3
	const specs = "busy: false, tiers: [frozen, reclaimed, cold]"
	inWorld(t, specs, func(t *testing.T, w *world, d *daemon, s *Site) {
		w.others, w.memory, w.left = sites-1, each, left
		w.config = func(c *config.Config) {
			c.Memory.Sites = budget
			c.Reclaim.WithoutSwap = true // whatever this machine has
		}
		d.kill()
		*d = *w.start(specs)
		names := slices.Sorted(maps.Keys(d.all))
		const span, part = 9000, 3000
		var visits, evicted, parked [span/part + 1]int
		most := uint64(0)
		for second := range span {
			p := second/part + 1
			for i, name := range names {
				every := 60
				if i%6 == 0 {
					every = 30 // a monitor
				}
				if second%every == i*every/sites {
					visits[p]++
					d.serve(t, d.all[name], 750*time.Millisecond)
				}
			}
			d.goesOn(t, time.Second)
			if used, _ := w.used(); used > most {
				most = used
			}
			if second%part == part-1 {
				_, n := d.Budget.State()
				evicted[p], parked[p] = int(n), d.count(event.Parked)
			}
		}
		for p := 1; p < len(visits); p++ {
			n := evicted[p] - evicted[p-1]
			t.Logf("%d visits, %d sent away, %d cold", visits[p], n, parked[p]-parked[p-1])
			if n > visits[p] {
				t.Errorf("%d were sent away, of %d visits", n, visits[p])
			}
		}
		if last := len(visits) - 1; evicted[last]-evicted[last-1] > visits[last]*9/10 {
			t.Error("plans make no room for those who come")
		}
		if parked[3] > 0 {
			t.Errorf("%d went cold", parked[3])
		}
		if most > budget {
			t.Errorf("they have held %d MiB, and may hold %d", most>>20, budget>>20)
		}
		if evicted[3] == 0 {
			t.Error("nobody was sent away: this test tests nothing")
		}
	})
}

// TestTheBudgetSendsAwayWhoWasIdleForTheLongest, and nobody whose spec has no deeper tier.
func TestTheBudgetSendsAwayWhoWasIdleForTheLongest(t *testing.T) {
	const specs = "busy: false, tiers: [{tier: frozen, after: 2s}, {tier: cold, after: 9h}]"
	inWorld(t, specs, func(t *testing.T, w *world, d *daemon, s *Site) {
		w.others, w.memory = 3, 100<<20
		w.config = func(c *config.Config) { c.Memory.Sites = 330 << 20 }
		d.kill()
		*d = *w.start(specs)
		for _, name := range []string{"b1", "a", "b0", "b2"} {
			d.serve(t, d.all[name], 750*time.Millisecond)
			d.goesOn(t, 10*time.Second)
		}
		d.goesOn(t, 5*time.Second)
		var cold []string
		for name, s := range d.all {
			if d.tier(s) == detect.TierCold {
				cold = append(cold, name)
			}
		}
		if fmt.Sprint(cold) != "[b1]" {
			t.Errorf("cold are %q: %q", cold, d.kinds())
		}
		for ev, err := range d.Eventlog.Events(t.Context(), event.Query{}) {
			if err != nil {
				t.Fatal(err)
			}
			if ev.Kind == event.Parked && (ev.Site != "b1" || !strings.Contains(ev.Reason, "all sites may hold 330MiB (memory.sites)")) {
				t.Errorf("%s was parked: %s", ev.Site, ev.Reason)
			}
		}
	})
}
