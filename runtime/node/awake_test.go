package node

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/store"
	"github.com/fcnode/fcnode/tests/testutil"
)

// parkedNode is a node of sites that sleep, without anything that touches the machine.
func parkedNode(t *testing.T, names ...string) *Node {
	t.Helper()
	dir := t.TempDir()
	kept, err := store.Open(filepath.Join(dir, "state.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{cfg: config.Default(), log: slog.New(slog.DiscardHandler), store: kept, sites: map[string]*entry{}, ids: map[bpf.SiteID]*entry{}, ctx: t.Context()}
	n.experiences = newExperiences(dir, n.work.Go, n.notKept)
	t.Cleanup(func() {
		n.work.Wait()
		if err := kept.Close(); err != nil {
			t.Error(err)
		}
	})
	var sites []*store.Site
	for i, name := range names {
		s := &store.Site{ID: uint32(i + 1), Spec: *parseSite(t, "idle: never")}
		s.Spec.Name = name
		sites = append(sites, s)
	}
	if err := kept.Put(sites); err != nil {
		t.Fatal(err)
	}
	for _, s := range sites {
		e := newEntry(s)
		n.sites[e.name], n.ids[e.id] = e, e
	}
	return n
}

func (n *Node) awakeNames() []string {
	var out []string
	for _, e := range n.awake.all() {
		out = append(out, e.name)
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
		e := n.sites[name]
		e.mu.Lock()
		if err := n.activate(e); err != nil {
			t.Fatal(err)
		}
		e.active.rungs = []site.Rung{{Tier: site.TierFrozen, After: time.Second}} // of a time when it was to sleep
		e.mu.Unlock()
	}
	n.work.Wait()
	if got := n.awakeNames(); !slices.Equal(got, want) {
		t.Fatalf("awake are %q, want %q", got, want)
	}
	for _, e := range n.all() {
		if !slices.Contains(want, e.name) {
			e.mu.Lock()
			defer e.mu.Unlock()
		}
	}
	done := make(chan struct{}, 1)
	go func() { n.newLadders(); done <- struct{}{} }()
	testutil.Receive(t, time.Minute, "the new ladders, for which no parked site is needed", done)
	for _, name := range want {
		if got := n.sites[name].active.rungs; len(got) != 0 {
			t.Errorf("%s has the ladder %v still", name, got)
		}
	}
}

// TestAwakeFollowsEachSite: from its wake to the moment at which nothing of it is left.
func TestAwakeFollowsEachSite(t *testing.T) {
	n := parkedNode(t, "one", "two")
	one, two := n.sites["one"], n.sites["two"]
	step := func(what string, e *entry, do func(), want ...string) {
		t.Helper()
		e.mu.Lock()
		do()
		e.mu.Unlock()
		if got := n.awakeNames(); !slices.Equal(got, want) {
			t.Errorf("%s: awake are %q, want %q", what, got, want)
		}
	}
	activate := func(e *entry) func() {
		return func() {
			if err := n.activate(e); err != nil {
				t.Error(err)
			}
		}
	}
	step("one wakes", one, activate(one), "one")
	step("two wakes", two, activate(two), "one", "two")
	step("one has a replica still", one, func() { one.active.replicas[1] = &replica{id: 1}; n.settle(one) }, "one", "two")
	step("it has none", one, func() { delete(one.active.replicas, 1); n.awake.become(one, nil) }, "two")
	step("one wakes again", one, activate(one), "one", "two")
	step("two is told to sleep twice", two, func() { n.awake.become(two, nil); n.awake.become(two, nil) }, "one")
}
