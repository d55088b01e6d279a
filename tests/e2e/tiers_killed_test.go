package e2e

import (
	"net/netip"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// killedWhileWaking kills the daemon at moments of a wake from a tier, and sees to it that the visitor is answered by
// the next one.
func killedWhileWaking(t *testing.T, n *node, s *site, tier api.Tier, rounds int, apart time.Duration) {
	t.Helper()
	for round := range rounds {
		s.awaitTier(tier)
		c, to := []*client{n.outside, n.local}[round%2], []netip.AddrPort{s.addr4(80), s.addr6(80)}[round/2%2]
		mark := n.mark()
		answered := later(func() error {
			_, err := c.get(to, "/")
			return err
		})
		<-time.After(time.Duration(round) * apart) // which moment it is, is what is tested
		n.kill()
		n.start()
		if err := testutil.Receive(t, patience, "the visitor", answered); err != nil {
			t.Errorf("%s client, daemon killed after %v: %v; %q", c.name, time.Duration(round)*apart, err, s.story(mark))
		}
		c.greet(to)
		if got := kinds(s.events(mark), "failed", "not-restored"); len(got) > 0 {
			t.Errorf("daemon killed after %v: %q", time.Duration(round)*apart, s.story(mark))
		}
	}
}

func TestRootKilledWhileAGateOpens(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("opening", "idle: 1s", "tiers: [prepared]")
	n.outside.greet(s.addr4(80))
	rounds := few(8)
	killedWhileWaking(t, n, s, api.TierPrepared, rounds, testutil.Timeout(8*time.Millisecond)/time.Duration(rounds))
}

// TestRootKilledDuringARestore: what was taken out of its place is not restored again.
func TestRootKilledDuringARestore(t *testing.T) {
	needCRIU(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.checkpointed("restoring")
	n.outside.greet(s.addr4(80))
	rounds := few(10)
	killedWhileWaking(t, n, s, api.TierCheckpointed, rounds, testutil.Timeout(200*time.Millisecond)/time.Duration(rounds))
	s.awaitTier(api.TierCheckpointed)
	n.awaitImages(s.name)
}

func TestRootKilledWhileASiteIsThawed(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("thawing", "idle: 1s", "tiers: [frozen]")
	n.outside.greet(s.addr4(80))
	rounds := few(8)
	killedWhileWaking(t, n, s, api.TierFrozen, rounds, testutil.Timeout(2*time.Millisecond)/time.Duration(rounds))
}
