package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// memoryOf is what the kernel accounts to a process' cgroup, in bytes.
func memoryOf(t testing.TB, pid int) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(cgroupOf(t, pid), "memory.current"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRootReclaimedSiteIsThawed: a site whose memory was pushed out is there for its visitor.
func TestRootReclaimedSiteIsThawed(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	testutil.RequireFeature(t, "memory.reclaim")
	n := newNode(t, options{more: "reclaim: {withoutSwap: true, keep: 64KiB}"})
	s := n.deploy("pushed", "idle: 1s", "tiers: [{tier: frozen, after: 1s}, {tier: reclaimed, after: 2s}]")
	for range 2 {
		mark := n.mark()
		n.outside.greet(s.addr4(80))
		pid := s.pid()
		before := memoryOf(t, pid)
		s.await(mark, "reclaimed")
		s.awaitTier(api.TierReclaimed)
		if !frozen(t, pid) {
			t.Error("its memory is reclaimed, and it is not frozen")
		}
		t.Logf("%d bytes running, %d reclaimed", before, memoryOf(t, pid))
		mark = n.mark()
		n.local.greet(s.addr6(80))
		if tr := s.lastWake(mark); tr.From != api.TierReclaimed {
			t.Errorf("trace %+v", tr)
		}
	}
}

// TestRootVisitorsWhileReclaiming: who comes while memory is being pushed out does not wait for the rest.
func TestRootVisitorsWhileReclaiming(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	testutil.RequireFeature(t, "memory.reclaim")
	n := newNode(t, options{more: "reclaim: {withoutSwap: true, keep: 64KiB}"})
	s := n.deploy("pushing", "idle: 1s", "tiers: [reclaimed]")
	rounds := few(10)
	for round := range rounds {
		n.outside.greet(s.addr4(80))
		pid := s.pid()
		s.awaitEnd()
		<-time.After(time.Duration(round) * testutil.Timeout(2*time.Millisecond)) // which moment it is, is what is tested
		n.local.greet(s.addr6(80))
		if now := s.pid(); now != pid {
			t.Errorf("round %d: process %d became %d; %q", round, pid, now, s.story(0))
		}
	}
}

// TestRootNodeChoosesTheLadder: what the node chooses by itself, and why, is in the events.
func TestRootNodeChoosesTheLadder(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("auto", "idle: 1s", "tiers: auto")
	mark := n.mark()
	n.outside.greet(s.addr4(80))
	n.awaitSlow(mark, s.name, "frozen") // what costs the visitor nothing comes first
	ev := s.await(mark, "ladder")
	if !strings.HasPrefix(ev.Reason, "frozen") || !strings.Contains(ev.Reason, "a wake takes") || ev.Fields["ladder"] == nil {
		t.Errorf("the event is %q, %q, %v", ev.Reason, ev.Text, ev.Fields)
	}
	n.local.greet(s.addr6(80))
	testutil.WaitFor(t, patience, "the figures", func() error {
		v := s.get()
		// Where that wake took long, frozen is not worth it any more: so there the figures are, too.
		frozen := func(r api.Rung) bool { return r.Tier == api.TierFrozen }
		if i := slices.IndexFunc(v.Ladder, frozen); i >= 0 && v.Ladder[i].Wakes == 0 || i < 0 && !slices.ContainsFunc(v.LadderUnused, frozen) {
			return fmt.Errorf("the ladder is %+v, without %+v", v.Ladder, v.LadderUnused)
		}
		return nil
	})
}

// TestRootMemoryBudget: where all sites hold more than they may, one that sleeps is sent deeper before its time; one that somebody uses is not.
func TestRootMemoryBudget(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	testutil.RequireFeature(t, "memory.reclaim")
	n := newNode(t, options{more: "memory: {sites: 1MiB}"}) // less than any process holds
	const tiers = "tiers: [{tier: frozen, after: 1s}, {tier: cold, after: 9h}]"
	sleeps, used := n.deploy("sleeps", "idle: 1s", tiers), n.deploy("used", "idle: 1s", tiers)
	mark := n.mark()
	visitor := n.outside.keep(used.addr4(80))
	if err := visitor.ask(); err != nil {
		t.Fatal(err)
	}
	n.outside.greet(sleeps.addr4(80))
	n.awaitSlow(mark, sleeps.name, "frozen")
	if ev := n.awaitSlow(mark, sleeps.name, "parked"); !strings.Contains(ev.Reason, "all sites may hold 1MiB (memory.sites)") {
		t.Errorf("it was parked: %s", ev.Reason)
	}
	if got := kinds(used.events(mark), "frozen", "parked"); len(got) > 0 {
		t.Errorf("somebody is there, and it was put to sleep: %q", used.story(mark))
	}
	says(t, "metrics", n.cli("metrics"), "fcnode_evictions_total 1", "fcnode_sites_memory_budget_bytes 1.048576e+06", "fcnode_sites_memory_bytes")
	n.outside.greet(sleeps.addr4(80))
}
