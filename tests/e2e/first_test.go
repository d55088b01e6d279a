package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/tests/testutil"
)

// withoutRealTime has the daemon started so that the kernel refuses SCHED_RR: it has not the capability, and no such priority is within
// its limits. The nice values that it may take are those of the limit.
func (n *node) withoutRealTime(limits ...string) {
	n.enter = append([]string{"prlimit", "--rtprio=0:0"}, append(limits, "setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice")...)
	n.start()
}

// servesAndScales: a frozen site is woken by its visitor, and one with too many, which is given back, scales out.
func (n *node) servesAndScales() *site {
	n.t.Helper()
	s := n.deploy("asleep", "idle: 1s", "tiers: [frozen]")
	s.sleepOn("frozen")
	n.outside.greet(s.addr4(80))
	out, _ := n.scaledOutAsTold()
	return out
}

// TestRootGoesFirstByNiceness: where the kernel refuses SCHED_RR the same threads have the least nice value, and what they start has not.
func TestRootGoesFirstByNiceness(t *testing.T) {
	testutil.RequireFeature(t, "CAP_SYS_RESOURCE") // raises the limit
	t.Parallel()
	n := newMachine(t, options{})
	n.withoutRealTime("--nice=40:40")
	n.awaitFirst(func(first, nice int) bool { return first == 0 && nice == daemonsFirst })
	for _, r := range n.servesAndScales().ready(2) {
		if first, nice := urgentThreads(t, r.PID); first+nice != 0 {
			t.Errorf("%d threads of replica %s go before others", first+nice, r.ID)
		}
	}
	n.awaitFirst(func(first, nice int) bool { return first == 0 && nice == daemonsFirst })
}

// TestRootGoesFirstIsRefused: where the kernel grants neither it is told once, and everything else is as ever.
func TestRootGoesFirstIsRefused(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newMachine(t, options{})
	n.withoutRealTime("--nice=0:0")
	n.servesAndScales()
	if first, nice := urgentThreads(t, n.daemon.Process.Pid); first+nice != 0 {
		t.Errorf("%d of the daemon's threads go before others, which was refused", first+nice)
	}
	log, err := os.ReadFile(n.path("daemon.log"))
	if err != nil {
		t.Fatal(err)
	}
	if told := strings.Count(string(log), "the kernel gives the daemon no real-time priority"); told != 1 {
		t.Errorf("it was told %d times, want once", told)
	}
}
