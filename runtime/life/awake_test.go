package life

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/policy"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/runtime/store"
	"github.com/fcnode/fcnode/tests/testutil"
)

// fewSites are the sites of a node.
type fewSites struct {
	host  *Host
	sites map[string]*Site
}

// parkedNode is a node of sites that sleep, without anything that touches the machine.
func parkedNode(t *testing.T, names ...string) *fewSites {
	t.Helper()
	dir := t.TempDir()
	kept, err := store.Open(filepath.Join(dir, "state.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n := &fewSites{sites: map[string]*Site{}, host: &Host{Cfg: config.Default(), Log: slog.New(slog.DiscardHandler), Store: kept, Ctx: t.Context(), Means: policy.Means{CRIU: policy.NewCRIU()}}}
	n.host.Experiences = policy.OpenStore(dir, n.host.Work.Go, n.host.NotKept)
	t.Cleanup(func() {
		n.host.Work.Wait()
		if err := kept.Close(); err != nil {
			t.Error(err)
		}
	})
	var sites []*store.Site
	for i, name := range names {
		s := &store.Site{ID: uint32(i + 1), Spec: *parseLife(t, "idle: never")}
		s.Spec.Name = name
		sites = append(sites, s)
	}
	if err := kept.Put(sites); err != nil {
		t.Fatal(err)
	}
	for _, s := range sites {
		e := New(n.host, s)
		n.sites[e.Name] = e
	}
	return n
}

func (n *fewSites) awakeNames() []string {
	var out []string
	for _, e := range n.host.Awake.All() {
		out = append(out, e.Name)
	}
	slices.Sort(out)
	return out
}

// TestNewLaddersLeaveParkedSitesAlone: somebody holds the lock of each parked site, and those that are awake get their ladder all the same.
func TestNewLaddersLeaveParkedSitesAlone(t *testing.T) {
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprintf("site%02d", i))
	}
	n := parkedNode(t, names...)
	want := []string{"site07", "site42", "site99"}
	for _, name := range want {
		if err := withMachine(n.sites[name], func(*Live) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	n.host.Work.Wait() // for their first ladders
	for _, name := range want {
		n.sites[name].With(func(l *Live) {
			l.rungs = []site.Rung{{Tier: detect.TierFrozen, After: time.Second}} // of a time when it was to sleep
		})
	}
	if got := n.awakeNames(); !slices.Equal(got, want) {
		t.Fatalf("awake are %q, want %q", got, want)
	}
	for _, e := range n.sites {
		if !slices.Contains(want, e.Name) {
			e.mu.Lock()
			defer e.mu.Unlock()
		}
	}
	done := make(chan struct{}, 1)
	go func() { n.host.NewLadders(); done <- struct{}{} }()
	testutil.Receive(t, time.Minute, "the new ladders, for which no parked site is needed", done)
	for _, name := range want {
		if got := n.sites[name].live.rungs; len(got) != 0 {
			t.Errorf("%s has the ladder %v still", name, got)
		}
	}
}

// TestAwakeFollowsEachSite: from its wake to the moment at which nothing of it is left.
func TestAwakeFollowsEachSite(t *testing.T) {
	n := parkedNode(t, "one", "two")
	one, two := n.sites["one"], n.sites["two"]
	step := func(what string, e *Site, do func(l *Live), want ...string) {
		t.Helper()
		err := withMachine(e, func(l *Live) error {
			do(l)
			return nil
		})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got := n.awakeNames(); !slices.Equal(got, want) {
			t.Errorf("%s: awake are %q, want %q", what, got, want)
		}
	}
	wakes := func(*Live) {}
	step("one wakes", one, wakes, "one")
	step("two wakes", two, wakes, "one", "two")
	step("one has a replica still", one, func(l *Live) { l.Replicas[1] = &Replica{ID: 1}; l.endIdle() }, "one", "two")
	step("it has none", one, func(l *Live) { delete(l.Replicas, 1); l.become(nil) }, "two")
	step("one wakes again", one, wakes, "one", "two")
	step("two is told to sleep twice", two, func(l *Live) { l.become(nil); l.become(nil) }, "one")
}

func parseLife(t testing.TB, more string) *spec.Site {
	t.Helper()
	if !strings.Contains(more, "image: ") {
		more = "image: 'dir:/a', " + more
	}
	if !strings.Contains(more, "ports: ") {
		more = "ports: [80/tcp], " + more
	}
	sites, err := spec.Parse("test", strings.NewReader("{name: a, "+more+"}"))
	if err != nil {
		t.Fatal(err)
	}
	return &sites[0]
}
