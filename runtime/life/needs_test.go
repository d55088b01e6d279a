package life

import (
	"net/netip"
	"testing"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/store"
)

// beside adds a site to the daemon's one.
func (d *daemon) beside(t *testing.T, name, specs string, needs ...string) *Site {
	t.Helper()
	rec := &store.Site{ID: uint32(1 + len(d.all)), Spec: *parseLife(t, specs), Addr4: netip.AddrFrom4([4]byte{10, 77, 1, byte(len(d.all))})}
	rec.Spec.Name, rec.Spec.Needs = name, needs
	if err := d.Store.Put([]*store.Site{rec}); err != nil {
		t.Fatal(err)
	}
	d.all[name] = New(d.Host, rec)
	return d.all[name]
}

// replicaOf is the one that the site has.
func (d *daemon) replicaOf(t *testing.T, s *Site) (id bpf.ReplicaID) {
	t.Helper()
	s.With(func(l *Live) {
		if l.Activity == nil || len(l.Replicas) != 1 {
			t.Fatalf("site %s has not one replica: %+v", s.Name, l.Activity)
		}
		for r := range l.Replicas {
			id = bpf.ReplicaID(r)
		}
	})
	return id
}

// TestNeeds: a site wakes with those that need it, from parked and from frozen, and each in turn; those that need each
// other do no more than wake.
func TestNeeds(t *testing.T) {
	inWorld(t, "idle: 1m, tiers: [frozen], needs: [db, gone]", func(t *testing.T, w *world, d *daemon, s *Site) {
		db := d.beside(t, "db", "idle: 1m, tiers: [frozen]", "disk", "a")
		disk := d.beside(t, "disk", "idle: 1m, tiers: [cold]")
		d.visit(s)
		for _, other := range []*Site{s, db, disk} {
			if got := d.phase(other); got != site.Waking {
				t.Fatalf("a visitor came to a: %s is %s", other.Name, got)
			}
		}
		ids := map[*Site]bpf.ReplicaID{}
		for _, other := range []*Site{s, db, disk} {
			ids[other] = d.replicaOf(t, other)
			d.listen(other, ids[other])
		}
		w.leave(ids[s])
		pass(2 * time.Minute)
		c := w.containers["db-1.2"]
		if c == nil {
			t.Fatalf("containers %v", w.containers)
		}
		if frozen, _ := c.Frozen(); !frozen || d.phase(disk) != site.Parked {
			t.Fatalf("nobody is there: db frozen %v, disk %s", frozen, d.phase(disk))
		}
		d.visit(s)
		if frozen, _ := c.Frozen(); frozen || d.phase(disk) != site.Waking {
			t.Fatalf("another visitor came to a: db frozen %v, disk %s", frozen, d.phase(disk))
		}
		wantKinds(t, d, event.Waking, event.Running)
	})
}

// TestNeedsOfWhatFails: visits to a site do not make one that it needs, and that fails, try without a pause.
func TestNeedsOfWhatFails(t *testing.T) {
	inWorld(t, "idle: 1m, tiers: [cold], needs: [db]", func(t *testing.T, w *world, d *daemon, s *Site) {
		db := d.beside(t, "db", "idle: 1m, tiers: [cold], start: {timeout: 5s}")
		d.visit(s)
		d.listen(s, d.replicaOf(t, s))
		d.visit(db)
		pass(5500 * time.Millisecond) // db listens on nothing
		if got := d.phase(db); got != site.Backoff {
			t.Fatalf("db is %s", got)
		}
		s.With(func(l *Live) { wakeNeeded(l) })
		pass(time.Millisecond)
		if got := d.phase(db); got != site.Backoff {
			t.Errorf("db, which fails, is %s as soon as somebody needs it", got)
		}
	})
}

// TestNeedsOfWhatPanics: what panics while a site is woken for another quarantines that site alone, and the next one is woken.
func TestNeedsOfWhatPanics(t *testing.T) {
	inWorld(t, "idle: 1m, tiers: [cold], needs: [db, disk]", func(t *testing.T, w *world, d *daemon, s *Site) {
		d.visit(s)
		d.listen(s, d.replicaOf(t, s))
		db, disk := d.beside(t, "db", "idle: 1m, tiers: [cold]"), d.beside(t, "disk", "idle: 1m, tiers: [cold]")
		db.With(func(l *Live) { l.Activity = &Activity{} }) // without a machine, as a bug would have it
		s.With(func(l *Live) { wakeNeeded(l) })
		pass(time.Millisecond)
		if !db.Quarantined() || s.Quarantined() || d.phase(disk) != site.Waking {
			t.Errorf("quarantined: db %v, a %v; disk is %s", db.Quarantined(), s.Quarantined(), d.phase(disk))
		}
	})
}
