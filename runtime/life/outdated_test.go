package life

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/volume"
)

// deployed is a folder with releases, and a link to the first of them.
type deployed struct {
	t    *testing.T
	link string
	was  []volume.Source
}

func deploy(t *testing.T, d *daemon) *deployed {
	t.Helper()
	dir := t.TempDir()
	for _, release := range []string{"1", "2"} {
		if err := os.Mkdir(filepath.Join(dir, release), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	d.Sources = volume.NewComparer([]string{dir}, nil)
	out := &deployed{t: t, link: filepath.Join(dir, "current")}
	out.to("1")
	s := volume.Source{Path: out.link, Follow: true, Target: "/srv"}
	f, err := s.Open([]string{dir})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if s.Was, err = volume.Identify(f); err != nil {
		t.Fatal(err)
	}
	out.was = []volume.Source{s, {Path: filepath.Join(d.NamedVolumes.Dir(), "a/html/data"), Target: "/html", Was: volume.ID{Inode: 1}}}
	d.w.sources = out.was
	return out
}

func (d *deployed) to(release string) {
	d.t.Helper()
	next := d.link + ".next"
	if err := os.Symlink(release, next); err != nil {
		d.t.Fatal(err)
	}
	if err := os.Rename(next, d.link); err != nil {
		d.t.Fatal(err)
	}
}

// states are those of the site's replicas.
func (d *daemon) states(s *Site) (out map[site.ReplicaID]site.State) {
	out = map[site.ReplicaID]site.State{}
	s.With(func(l *Live) {
		if l.Activity != nil {
			for _, r := range l.Machine.Replicas() {
				out[r.ID] = r.State
			}
		}
	})
	return out
}

// TestDeployWhileFrozen: a visitor of a frozen site whose source was exchanged waits for a fresh replica, and is not answered by the old one's kernel;
// where nothing was exchanged the frozen one serves.
func TestDeployWhileFrozen(t *testing.T) {
	inWorld(t, "idle: 1m, tiers: [frozen]", func(t *testing.T, w *world, d *daemon, s *Site) {
		dep := deploy(t, d)
		first := d.up(t, s)
		pass(2 * time.Minute)
		d.visit(s)
		if got := d.states(s)[site.ReplicaID(first)]; got != site.Ready {
			t.Fatalf("nothing was exchanged, and the replica is %q", got)
		}
		if released, _ := w.counts(); released != 2 {
			t.Errorf("%d visitors were let in", released)
		}
		pass(2 * time.Minute)
		dep.to("2")
		d.visit(s)
		if released, refused := w.counts(); released != 2 || refused != 0 {
			t.Fatalf("the visitor is not held: %d let in, %d refused", released, refused)
		}
		ids := w.ids()
		next := ids[len(ids)-1]
		if next == first {
			t.Fatalf("no other replica was started: %v", ids)
		}
		d.listen(s, next)
		if released, _ := w.counts(); released != 3 {
			t.Errorf("%d visitors were let in", released)
		}
		wantKinds(t, d, event.Frozen, event.Waking, event.Running, event.Frozen, event.Outdated, event.Waking, event.Running)
	})
}

// TestDeployWhilePrepared: nor is what waits at its gate of use any more.
func TestDeployWhilePrepared(t *testing.T) {
	inWorld(t, "idle: 1m, tiers: [prepared]", func(t *testing.T, w *world, d *daemon, s *Site) {
		dep := deploy(t, d)
		d.up(t, s)
		pass(2 * time.Minute)
		gates := func() (ids []site.ReplicaID) {
			s.With(func(l *Live) { ids = l.Machine.Prepared() })
			return ids
		}
		at := gates()
		if len(at) != 1 {
			t.Fatalf("at their gates are %v", at)
		}
		dep.to("2")
		d.visit(s)
		if states := d.states(s); len(states) != 1 || states[at[0]] != "" {
			t.Fatalf("the replicas are %v, and %d was prepared with the old release", states, at[0])
		}
		wantKinds(t, d, event.Prepared, event.Outdated, event.Waking)
	})
}

// TestDeployAndKilledDaemon: the next daemon knows what a frozen replica has mounted, and does not take it for one that drains.
func TestDeployAndKilledDaemon(t *testing.T) {
	inWorld(t, "idle: 1m, tiers: [frozen]", func(t *testing.T, w *world, d *daemon, s *Site) {
		dep := deploy(t, d)
		first := d.up(t, s)
		pass(2 * time.Minute)
		kernel, set := w.replicas[first].kernel, w.sites[s.ID]
		d.kill()
		*d = *w.start("idle: 1m, tiers: [frozen]")
		s = d.all["a"]
		stats, err := w.Stats(first)
		if err != nil || !set.Replicas[0].Draining || !stats.Asleep {
			t.Fatalf("new flows are held: %v, marked: %v (%v)", set.Replicas[0].Draining, stats.Asleep, err)
		}
		if err := Adopt(s, site.ReplicaID(first), w.container("a-1"), kernel, fakeNamespace{w}, stats, set); err != nil {
			t.Error(err)
		}
		s.With((*Live).AllAdopted)
		if got := d.states(s)[site.ReplicaID(first)]; got != site.Asleep {
			t.Fatalf("it was found %q", got)
		}
		d.Sources = volume.NewComparer([]string{filepath.Dir(dep.link)}, nil)
		dep.to("2")
		d.visit(s)
		wantKinds(t, d, event.Adopted, event.Outdated, event.Waking)
	})
}

// TestKnockAtOutdated: who has a connection to a replica that sleeps is served by it while the next one starts.
func TestKnockAtOutdated(t *testing.T) {
	inWorld(t, "idle: 1m, tiers: [frozen]", func(t *testing.T, w *world, d *daemon, s *Site) {
		dep := deploy(t, d)
		first := d.up(t, s)
		pass(2 * time.Minute)
		dep.to("2")
		s.SocketEvent(bpf.Event{Kind: bpf.EventKnock, Site: s.ID, Replica: first, Time: w.now()})
		pass(time.Second)
		states := d.states(s)
		if states[site.ReplicaID(first)] != site.Ready || len(states) != 2 {
			t.Errorf("the replicas are %v", states)
		}
		wantKinds(t, d, event.Waking, event.Running, event.Circulating)
	})
}
