//go:build linux

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

// urgentThreads counts the threads of a process that the kernel runs before others.
func urgentThreads(t *testing.T, pid int) (count int) {
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
		nice, err := strconv.Atoi(fields[19-3])
		if err != nil {
			t.Fatal(err)
		}
		policy, err := strconv.Atoi(fields[41-3])
		if err != nil {
			t.Fatal(err)
		}
		if policy == unix.SCHED_RR || nice < 0 {
			count++
		}
	}
	return count
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
		if got := urgentThreads(t, r.PID); got != 0 {
			t.Errorf("%d threads of replica %s go before others", got, r.ID)
		}
	}
	daemon := n.daemon.Process.Pid
	testutil.WaitFor(t, patience, "the daemon's threads", func() error {
		if got := urgentThreads(t, daemon); got != 5 { // two read triggers, one pressure, two look
			return fmt.Errorf("%d of the daemon's threads go before others", got)
		}
		return nil
	})
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
