package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// daemonsFirst are the daemon's threads that go before others: two read triggers, one pressure, two look, one reads held packets, one
// what sockets do.
const daemonsFirst = 7

// urgentThreads counts the threads of a process that the kernel runs before others: all others (SCHED_RR), or those that are
// not nice either.
func urgentThreads(t testing.TB, pid int) (first, nice int) {
	t.Helper()
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(stats) == 0 {
		t.Fatalf("threads of process %d: %v, %v", pid, stats, err)
	}
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest) // from the third on (proc_pid_stat(5)): the nice value is the 19th, the policy the 41st
		niceness, err := strconv.Atoi(fields[19-3])
		if err != nil {
			t.Fatal(err)
		}
		policy, err := strconv.Atoi(fields[41-3])
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case policy == unix.SCHED_RR:
			first++
		case niceness < 0:
			nice++
		}
	}
	return first, nice
}

// awaitFirst waits until as many of the daemon's threads as are wanted go before others. One that has used up its allowance does not
// for a moment.
func (n *node) awaitFirst(want func(first, nice int) bool) {
	n.t.Helper()
	testutil.WaitFor(n.t, patience, "the daemon's threads", func() error {
		if first, nice := urgentThreads(n.t, n.daemon.Process.Pid); !want(first, nice) {
			return fmt.Errorf("%d of the daemon's threads go before all others, %d before those that are nicer", first, nice)
		}
		return nil
	})
}

// scaledOutAsTold has a site scale out because the kernel told of its connections. The daemon also looks by itself, each second;
// when it sees them first, the next site is tried.
func (n *node) scaledOutAsTold() (*site, api.Event) {
	n.t.Helper()
	const most = 5
	for i := range most {
		s := n.deploy(fmt.Sprintf("shop%d", i), "scale: {max: 2, target: {conns: 4}}")
		mark := n.mark()
		for range 20 {
			n.outside.keep(s.addr4(80))
		}
		if out := s.await(mark, "scaled-out"); out.Fields["trigger"] != nil && out.Fields["delayNs"] != nil {
			return s, out
		}
	}
	n.t.Fatalf("the kernel's word was not the first of any of %d sites", most)
	return nil, api.Event{}
}

// TestRootScaleGoesFirst: the daemon's threads that read what the kernel tells run before others; what they start, the
// sites above all, does not.
func TestRootScaleGoesFirst(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s, out := n.scaledOutAsTold()
	for _, r := range s.ready(2) {
		if first, nice := urgentThreads(t, r.PID); first+nice != 0 {
			t.Errorf("%d threads of replica %s go before others", first+nice, r.ID)
		}
	}
	n.awaitFirst(func(first, nice int) bool { return first+nice == daemonsFirst })
	way, _ := out.Fields["wayNs"].(map[string]any)
	delay, _ := out.Fields["delayNs"].(float64)
	before := 0.0
	for _, step := range []string{"read", "begun", "locked", "counted"} {
		at, ok := way[step].(float64)
		if !ok || at < before || at > delay {
			t.Errorf("step %s is missing or out of order in %v, all took %v", step, way, delay)
		}
		before = at
	}
}
