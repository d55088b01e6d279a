package e2e

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// ways are the ways of a packet into a replica: each kind of attachment, and without the fast path. (What comes by the
// stack meets the same program as the first packets and the local client's do, so it is not tried with both.)
var ways = []options{{attach: "tcx"}, {attach: "clsact"}, {attach: "clsact", noUplink: true}}

func (o options) String() string {
	if o.noUplink {
		return o.attach + " by the stack"
	}
	return o.attach + " by the uplink"
}

// onEachWay runs a test on a node of each kind, configured by more lines. Emulated machines, where a node takes some ten
// seconds to start, try all of them with the first packet only.
func onEachWay(t *testing.T, more string, test func(t *testing.T, n *node)) {
	testutil.Privileged(t)
	for _, o := range ways {
		if slow() && !testutil.Has(t, o.attach) {
			continue
		}
		o.more = more
		onWay(t, o, test)
		if slow() {
			return
		}
	}
}

func onWay(t *testing.T, o options, test func(t *testing.T, n *node)) {
	t.Run(o.String(), func(t *testing.T) {
		testutil.RequireFeature(t, o.attach)
		test(t, newNode(t, o))
	})
}

// slow tells an emulated machine.
func slow() bool { return testutil.Timeout(time.Second) > time.Second }

// few is how often something is tried: less often where it takes longer, but at least once.
func few(times int) int {
	return max(1, int(time.Duration(times)*time.Second/testutil.Timeout(time.Second)))
}

func TestRootFirstPacketWakes(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	for _, o := range ways {
		onWay(t, o, firstPacketWakes)
	}
}

func firstPacketWakes(t *testing.T, n *node) {
	s := n.deploy("hello")
	s.byEach(func(c *client, to netip.AddrPort) {
		s.park()
		mark := n.mark()
		if host := c.greet(to); host != "hello" {
			t.Errorf("the host name inside is %q", host)
		}
		if got := s.starts(mark); got != 1 {
			t.Errorf("%d starts for one packet of the %s client: %q", got, c.name, s.story(mark))
		}
		checkTrace(t, s, mark)
		c.transfer(to, 1<<20)
	})
}

// byEach has each client visit the site by each family; on an emulated machine each by another one.
func (s *site) byEach(visit func(c *client, to netip.AddrPort)) {
	for i, c := range []*client{s.n.outside, s.n.local} {
		for j, to := range []netip.AddrPort{s.addr4(80), s.addr6(80)} {
			if !slow() || i == j {
				visit(c, to)
			}
		}
	}
}

// lastWake waits for a wake after a mark to end, and returns the story of the last.
func (s *site) lastWake(mark uint64) api.Trace {
	s.n.t.Helper()
	s.await(mark, "woken")
	traces, err := s.n.api.Traces(s.n.ctx(), s.name, 1)
	if err != nil || len(traces) != 1 {
		s.n.t.Fatalf("traces: %v, %v", traces, err)
	}
	return traces[0]
}

// checkTrace waits for the story of a wake and reads it.
func checkTrace(t *testing.T, s *site, mark uint64) {
	t.Helper()
	tr := s.lastWake(mark)
	// What is released is not in the list: a SYN that its sender repeats meets the open port a little before that.
	want := []string{api.StepHeld, api.StepEventRead, api.StepPrepared, api.StepListening, api.StepConnected, api.StepFirstByte}
	var have []string
	released := false
	for _, step := range tr.Steps {
		if slices.Contains(want, step.Name) {
			have = append(have, step.Name)
		}
		released = released || step.Name == api.StepReleased && slices.Contains(have, api.StepListening)
	}
	if tr.Result != api.ResultOK || !slices.Equal(have, want) || !released {
		t.Errorf("trace: result %q, steps %+v, want %q, and released after the port was open", tr.Result, tr.Steps, want)
	}
}
