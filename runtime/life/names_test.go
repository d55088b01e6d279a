package life

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/store"
)

// names of a site's replicas.
func (d *daemon) names(s *Site) (out []string) {
	s.With(func(l *Live) {
		if l.Activity != nil {
			for _, r := range l.Replicas {
				out = append(out, r.Name)
			}
		}
	})
	slices.Sort(out)
	return out
}

// TestReplicasAreNumberedBySite: a site's first replica is its first, whatever else the node has started. Numbers
// go on under the next daemon, and no two sites' containers share a name.
func TestReplicasAreNumberedBySite(t *testing.T) {
	inWorld(t, "idle: 1h", func(t *testing.T, w *world, d *daemon, s *Site) {
		want := func(s *Site, names ...string) {
			t.Helper()
			if got := d.names(s); !slices.Equal(got, names) {
				t.Fatalf("the replicas are %q, want %q", got, names)
			}
		}
		d.up(t, s)
		want(s, "a-1")
		rec := &store.Site{ID: 2, Spec: *parseLife(t, "idle: 1h"), Addr4: netip.MustParseAddr("10.77.0.13")}
		rec.Spec.Name = "a-1" // whose replicas are a-1-1, a-1-2, …
		if err := d.Store.Put([]*store.Site{rec}); err != nil {
			t.Fatal(err)
		}
		other := New(d.Host, rec)
		d.all["a-1"] = other
		d.visit(other)
		want(other, "a-1-1")
		s.Send(site.CirculateAsked{Reason: "asked"})
		pass(0)
		want(s, "a-1", "a-2")
		if w.containers["a-1.1"] == nil || w.containers["a-1-1.2"] == nil || w.containers["a-2.3"] == nil || len(w.containers) != 3 {
			t.Errorf("the containers are %v", w.containers)
		}

		d.kill()
		next := w.start("idle: 1h")
		*d = *next
		s = d.all["a"]
		for id, name := range map[bpf.ReplicaID]string{1: "a-1.1", 3: "a-2.3"} {
			if err := Adopt(s, site.ReplicaID(id), w.containers[name], w.replicas[id].kernel, fakeNamespace{w}, w.replicas[id].stats, w.sites[s.ID]); err != nil {
				t.Error(err)
			}
		}
		want(s, "a-1", "a-2")
		w.containers["a-1.1"].end(container.ExitStatus{})
		w.containers["a-2.3"].end(container.ExitStatus{})
		pass(time.Minute)
		want(s)
		d.visit(s)
		want(s, "a-3")
	})
}

// TestReplicaOfAnEarlierVersion: it keeps its name, and the next one is numbered after it.
func TestReplicaOfAnEarlierVersion(t *testing.T) {
	inWorld(t, "idle: 1h", func(t *testing.T, w *world, d *daemon, s *Site) {
		id := d.up(t, s)
		c := w.containers["a-1.1"]
		kernel, set := w.replicas[id].kernel, w.sites[s.ID]
		d.kill()
		c.id = "a-17"
		w.containers = map[string]*fakeContainer{"a-17": c}
		next := w.start("idle: 1h")
		*d = *next
		s = d.all["a"]
		stats, err := w.Stats(id)
		if err != nil {
			t.Fatal(err)
		}
		if err := Adopt(s, site.ReplicaID(id), c, kernel, fakeNamespace{w}, stats, set); err != nil {
			t.Error(err)
		}
		s.Send(site.CirculateAsked{Reason: "asked"})
		pass(0)
		if got := d.names(s); !slices.Equal(got, []string{"a-17", "a-18"}) {
			t.Errorf("the replicas are %q", got)
		}
		c.end(container.ExitStatus{})
		pass(time.Minute)
		if w.container("a-17") != nil {
			t.Errorf("the containers are %v", w.containers)
		}
	})
}

// TestReplicaThatFailsAtItsGate: all that is told of it names it, its end too.
func TestReplicaThatFailsAtItsGate(t *testing.T) {
	inWorld(t, "idle: 1m, tiers: [prepared]", func(t *testing.T, w *world, d *daemon, s *Site) {
		d.up(t, s)
		pass(2 * time.Minute)
		w.broken = errors.New("it cannot be opened")
		d.visit(s)
		for _, kind := range []event.Kind{event.Prepared, event.Waking, event.Failed} {
			if ev := d.lastEvent(t, kind); ev.Replica != "a-2" {
				t.Errorf("%s is told of %q, want a-2", kind, ev.Replica)
			}
		}
	})
}

// TestOfContainer: no two replicas have one ID, and no ID is taken for another site's.
func TestOfContainer(t *testing.T) {
	for id, want := range map[string]struct {
		site    string
		replica site.ReplicaID
		bad     bool
	}{
		"a-1.2":        {site: "a", replica: 2},
		"a-1-2.7":      {site: "a-1", replica: 7}, // not a's "1-2"
		"a-12":         {site: "a", replica: 12},  // of an earlier version
		"a-1-2":        {site: "a-1", replica: 2}, // likewise
		"orphan":       {bad: true},
		"a-x":          {site: "a", bad: true},
		"a-1.x":        {site: "a", bad: true},
		"a-1.":         {site: "a", bad: true},
		"-1":           {bad: true},
		".1":           {bad: true},
		"a-4294967296": {site: "a", bad: true},
	} {
		siteName, replica, err := OfContainer(id)
		if siteName != want.site || replica != want.replica || (err != nil) != want.bad {
			t.Errorf("%q: site %q, replica %d, %v", id, siteName, replica, err)
		}
	}
}
