package life

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fcnode/fcnode/detect/sleep"
	"github.com/fcnode/fcnode/runtime/arrivals"
	"github.com/fcnode/fcnode/runtime/policy"
)

// paused are the pauses that are known of a site, by the file if it is parked.
func (d *daemon) paused(s *Site) (p sleep.Pauses) {
	WithLearnt(s, func(_ *Live, x *policy.Experience) {
		if x.State != nil {
			p = x.State.Pauses
		}
	})
	return p
}

// TestPausesOfASite: pauses are learnt while it runs, those in which it slept, and those in which it was
// parked; the daemon's end keeps them, and kill -9 all but the last seconds.
func TestPausesOfASite(t *testing.T) {
	inWorld(t, "idle: 1m, tiers: [cold]", func(t *testing.T, w *world, d *daemon, s *Site) {
		pass := func(after time.Duration) {
			for range after / time.Second {
				<-time.After(time.Second)
				synctest.Wait()
				d.Arrivals.Read()
			}
			synctest.Wait()
		}
		want := func(n int, when string) {
			t.Helper()
			p := d.paused(s)
			if got := p.Count(); got != n {
				t.Fatalf("%s %d pauses are known, want %d", when, got, n)
			}
		}
		pass(time.Second)
		id := d.up(t, s)
		pass(time.Second)
		for range 3 {
			d.visit(s)
			w.leave(id)
			pass(30 * time.Second)
		}
		want(2, "while it runs")
		pass(10 * time.Minute)
		if !w.parked(s.ID) {
			t.Fatal("the site is not parked")
		}
		id = d.up(t, s)
		pass(time.Second)
		d.visit(s)
		pass(2 * time.Second)
		want(3, "after it was parked")
		p := d.paused(s)
		if p[sleep.Bucket(30*time.Second)] != 2 || p[sleep.Bucket(10*time.Minute)]+p[sleep.Bucket(11*time.Minute)] != 1 {
			t.Errorf("they are %v", p)
		}
		w.leave(id)
		pass(20 * time.Second)
		d.kill() // kill -9: nothing is kept on its way out
		*d = *w.start("idle: 1m, tiers: [cold]")
		s = d.all["a"]
		want(3, "for another daemon")
		var text strings.Builder
		if err := d.Arrivals.Export(&text, arrivals.Query{Sites: []string{"a"}}); err != nil || !strings.Contains(text.String(), "\na | 0:2 1:1 ") {
			t.Errorf("its arrivals are\n%s%v", text.String(), err)
		}
		w.replicas = nil
	})
}

// TestAPanicInASitesPlanning quarantines that site: all others are read on.
func TestAPanicInASitesPlanning(t *testing.T) {
	inWorld(t, "idle: 1m, tiers: [cold]", func(t *testing.T, w *world, d *daemon, s *Site) {
		d.Arrivals.Read()
		d.up(t, s)
		d.visit(s)
		d.Arrivals.Read()
		plans := d.Plans
		d.Plans = nil // a bug
		pass(5 * time.Second)
		d.visit(s)
		d.Arrivals.Read()
		d.Plans = plans
		if !s.Quarantined() {
			t.Error("a panic in its planning does not quarantine the site")
		}
		d.Arrivals.Read()
		synctest.Wait()
	})
}
