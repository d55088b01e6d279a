package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

const mib = 1 << 20

// number is a file of a replica's cgroup that holds one.
func (n *node) number(r api.Replica, file string) int {
	n.t.Helper()
	v, err := strconv.Atoi(n.limit(r, file))
	if err != nil {
		n.t.Fatal(err)
	}
	return v
}

// grow has a site hold so much memory, all of it touched.
func (s *site) grow(bytes int) error {
	a, err := s.n.outside.get(s.addr4(80), fmt.Sprintf("/grow?bytes=%d", bytes))
	if err == nil && strings.TrimSpace(a.body) != strconv.Itoa(bytes) {
		err = fmt.Errorf("growing to %d: %q", bytes, a.body)
	}
	return err
}

// limited deploys a site with limits of memory, visits it, and returns it with its replica.
func (n *node) limited(name, memory string, more ...string) (*site, api.Replica) {
	n.t.Helper()
	s := n.deploy(name, append(more, "limits: {memory: "+memory+"}")...)
	n.outside.greet(s.addr4(80))
	return s, s.replicas(1)[0]
}

// TestRootScaleMemoryFollows: memory.max goes down after memory.high and up before it, so that a site that grows as fast as it can is
// never killed below the most that its spec allows.
func TestRootScaleMemoryFollows(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "memory controller")
	t.Parallel()
	n := newNode(t, options{})
	s, replica := n.limited("shop", "{min: 32MiB, max: 320MiB, follow: true}")
	for round := range 2 {
		testutil.WaitFor(t, 6*patience, "a lower memory.max", func() error {
			high, most := n.number(replica, "memory.high"), n.number(replica, "memory.max")
			if high > 128*mib || most > high+max(high/4, 16*mib) || most < high+high/8 {
				return fmt.Errorf("memory.high is %d MiB, memory.max %d MiB: %q", high/mib, most/mib, s.story(0))
			}
			return nil
		})
		t.Logf("round %d: memory.high %d MiB, memory.max %d MiB", round, n.number(replica, "memory.high")/mib, n.number(replica, "memory.max")/mib)
		if err := s.grow(256 * mib); err != nil {
			t.Fatal(err)
		}
		t.Logf("grown: memory.high %s, memory.max %s, events %q", n.limit(replica, "memory.high"), n.limit(replica, "memory.max"), n.limit(replica, "memory.events"))
		if now := s.ready(1)[0]; now.PID != replica.PID {
			t.Fatalf("the process is another: %+v, was %+v", now, replica)
		}
		if events := n.limit(replica, "memory.events"); !strings.Contains(events, "oom_kill 0") {
			t.Errorf("something was killed: %s", events)
		}
		testutil.WaitFor(t, patience, "limits above what it holds", func() error { // only memory.max has to be there before it holds that
			if high, most := n.number(replica, "memory.high"), n.number(replica, "memory.max"); high < 256*mib || most < high {
				return fmt.Errorf("memory.high is %d MiB, memory.max %d MiB", high/mib, most/mib)
			}
			return nil
		})
		if err := s.grow(mib); err != nil { // so that it is lowered again
			t.Fatal(err)
		}
	}
}

// TestRootBeyondMemoryMaxIsKilled: a site that wants more than its limit ends, swap or not, instead of going on for ever
// between memory and swap; unless its spec wants that.
func TestRootBeyondMemoryMaxIsKilled(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "memory controller")
	testutil.RequireFeature(t, "swap")
	t.Parallel()
	n := newNode(t, options{})
	s, replica := n.limited("greedy", "64MiB")
	if got := n.limit(replica, "memory.swap.max"); got != "0" {
		t.Errorf("memory.swap.max is %s while it is awake", got)
	}
	mark := n.mark()
	if err := s.grow(128 * mib); err == nil {
		t.Error("128 MiB in 64 MiB")
	}
	if ev := s.await(mark, "failed", "exited"); !strings.Contains(strings.ToLower(ev.Reason+ev.Text), "memory") {
		t.Errorf("the event does not say that it was for want of memory: %+v", ev)
	}

	swapping, other := n.limited("swapping", "{max: 64MiB, swap: unlimited}")
	if err := swapping.grow(96 * mib); err != nil {
		t.Errorf("with swap: %v", err)
	}
	if used := n.number(other, "memory.swap.current"); used < 16*mib {
		t.Errorf("%d MiB are in swap, of 96 in 64", used/mib)
	}
	bounded, third := n.limited("bounded", "{max: 64MiB, swap: 8MiB}")
	if got := n.limit(third, "memory.swap.max"); got != strconv.Itoa(8*mib) {
		t.Errorf("memory.swap.max is %s, want 8 MiB", got)
	}
	if err := bounded.grow(96 * mib); err == nil {
		t.Error("96 MiB in 64 MiB and 8 MiB of swap")
	}
}

// TestRootSwapOfSleepers: a site that sleeps may go to swap as a whole, and comes back from there; awake, it may not. Daemons that die
// in between change nothing about it.
func TestRootSwapOfSleepers(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "memory controller")
	testutil.RequireFeature(t, "memory.reclaim")
	testutil.RequireFeature(t, "swap")
	t.Parallel()
	n := newNode(t, options{more: "reclaim: {keep: 64KiB}"})
	s, replica := n.limited("pushed", "256MiB", "idle: 1s", "tiers: [{tier: frozen, after: 1s}, {tier: reclaimed, after: 2s}]")
	for round := range 2 {
		mark := n.mark()
		if err := s.grow(64 * mib); err != nil {
			t.Fatal(err)
		}
		s.await(mark, "reclaimed")
		s.awaitTier(api.TierReclaimed)
		if got := n.limit(replica, "memory.swap.max"); got != "max" {
			t.Errorf("memory.swap.max is %s while it sleeps", got)
		}
		if used := n.number(replica, "memory.swap.current"); used < 40*mib {
			t.Errorf("%d of 64 MiB are in swap", used/mib)
		}
		if round == 1 {
			n.kill()
			n.start()
			if got := n.limit(replica, "memory.swap.max"); got != "max" {
				t.Errorf("the next daemon made it %s", got)
			}
		}
		mark = n.mark()
		if a := n.outside.mustGet(s.addr4(80), "/held"); strings.TrimSpace(a.body) != strconv.Itoa(64*mib) {
			t.Errorf("of 64 MiB it holds %s", a.body)
		}
		s.await(mark, "woken")
		testutil.WaitFor(t, patience, "the swap of one that is awake", func() error {
			if v := s.get(); v.Tier != api.TierRunning { // it sleeps again
				if _, err := n.outside.get(s.addr4(80), "/"); err != nil {
					return err
				}
			}
			if got := n.limit(replica, "memory.swap.max"); got != "0" {
				return fmt.Errorf("memory.swap.max is %s", got)
			}
			return nil
		})
		if now := s.pid(); now != replica.PID {
			t.Errorf("the process is %d, was %+v", now, replica)
		}
	}
}

// TestRootSwapIsBoundAgain: a daemon that died between waking a site and bounding its swap is followed by one that does it.
func TestRootSwapIsBoundAgain(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "memory controller")
	testutil.RequireFeature(t, "swap")
	t.Parallel()
	n := newNode(t, options{})
	s, replica := n.limited("shop", "256MiB")
	n.kill()
	group := cgroupOf(t, replica.PID)
	if err := os.WriteFile(filepath.Join(group, "memory.swap.max"), []byte("max"), 0); err != nil {
		t.Fatal(err)
	}
	n.start()
	s.ready(1)
	if got := n.limit(replica, "memory.swap.max"); got != "0" {
		t.Errorf("memory.swap.max is %s", got)
	}
}
