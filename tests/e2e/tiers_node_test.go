package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootLadderIsClimbedDown: rung by rung, at the times of the list, and up again by one packet.
func TestRootLadderIsClimbedDown(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("deep", "idle: 1s", "tiers: [{tier: frozen, after: 1s}, {tier: prepared, after: 2s}, {tier: cold, after: 3s}]")
	for range 2 {
		mark := n.mark()
		n.outside.greet(s.addr4(80))
		s.await(mark, "prepared")
		frozenAt, prepared := s.await(mark, "frozen"), s.await(mark, "prepared")
		if apart := prepared.Time.Sub(frozenAt.Time); apart < 900*time.Millisecond {
			t.Errorf("frozen and prepared are %s apart, want a second", apart)
		}
		s.awaitTier(api.TierCold)
		if got := kinds(s.events(mark), "failed", "exited", "not-frozen", "not-prepared"); len(got) > 0 {
			t.Errorf("%q", s.story(mark))
		}
	}
}

// TestRootLadderIsShown: with the figures of the site's own wakes, which survive a restart.
func TestRootLadderIsShown(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("figures", "idle: 1s", "tiers: [{tier: frozen, after: 1s}, {tier: cold, after: 1h}]")
	most := map[api.Tier]time.Duration{} // that a wake has taken
	wake := func() {
		t.Helper()
		mark := n.mark()
		n.outside.greet(s.addr4(80))
		tr := s.lastWake(mark)
		most[tr.From] = max(most[tr.From], tr.Steps[len(tr.Steps)-1].At.Duration())
	}
	wake()
	for range 2 {
		s.sleepAgain()
		wake()
	}
	check := func(when string) {
		t.Helper()
		testutil.WaitFor(t, patience, "the figures "+when, func() error {
			l := s.get().Ladder
			if len(l) != 2 || l[0].Tier != api.TierFrozen || l[1].Tier != api.TierCold || l[0].After.Duration() != time.Second {
				return fmt.Errorf("the ladder is %+v", l)
			}
			if l[0].Wakes != 2 || l[1].Wakes != 1 || l[0].Reason == "" {
				return fmt.Errorf("after two wakes from frozen and one from cold: %+v", l)
			}
			for _, r := range l {
				if took := r.Wake.Duration(); took <= 0 || took > most[r.Tier] {
					return fmt.Errorf("wakes from %s have taken %s at most: %+v", r.Tier, most[r.Tier], l)
				}
			}
			return nil
		})
	}
	check("of a site that is awake")
	n.kill()
	n.start()
	check("after a restart")
	s.park()
	check("of a parked site")
}

// TestRootNodeWithoutTheMeans: what the node cannot do is said, and the site sleeps as near to it as can be.
func TestRootNodeWithoutTheMeans(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{more: "checkpoints: {criu: /nonexistent/criu}\nprepared: {max: 0}"})
	for _, c := range []struct {
		name, tiers string
		sleeps      string   // the event
		lacks       api.Tier // what is not on the ladder
		why         string
	}{
		{"no-criu", "tiers: [checkpointed]", "parked", api.TierCheckpointed, "/nonexistent/criu"},
		{"no-gates", "tiers: [prepared]", "parked", api.TierPrepared, "prepared.max"},
	} {
		s := n.deploy(c.name, "idle: 1s", c.tiers)
		s.sleepOn(c.sleeps)
		checkUnused(t, s, c.lacks, c.why)
		n.local.greet(s.addr6(80))
	}
	if testutil.Has(t, "memory controller") {
		return
	}
	s := n.deploy("no-controller", "idle: 1s", "tiers: [reclaimed]")
	s.sleepOn("frozen")
	checkUnused(t, s, api.TierReclaimed, "memory controller")
	n.local.greet(s.addr6(80))
}

func checkUnused(t *testing.T, s *site, tier api.Tier, why string) {
	t.Helper()
	unused := s.get().LadderUnused
	i := slices.IndexFunc(unused, func(r api.Rung) bool { return r.Tier == tier })
	if i < 0 || !strings.Contains(unused[i].Reason, why) {
		t.Errorf("%s: not on the ladder are %+v, want %s because of %q", s.name, unused, tier, why)
	}
}

// TestRootKilledWhileItsSiteSleeps: a visitor's knock that died with the daemon, or came while there was none, wakes the
// site when there is one again; sites that nobody asked for sleep on.
func TestRootKilledWhileItsSiteSleeps(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	asked, unasked := n.deploy("asked", "idle: 1s", "tiers: [frozen]"), n.deploy("unasked", "idle: 1s", "tiers: [frozen]")
	for _, s := range []*site{asked, unasked} {
		s.sleepOn("frozen")
	}
	pids := []int{asked.pid(), unasked.pid()}
	for round, to := range []netip.AddrPort{asked.addr4(80), asked.addr6(80)} {
		asked.sleepAgain()
		mark := n.mark()
		n.kill()
		conn, err := n.outside.connect(to) // the kernel of the sleeping site completes the handshake
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		early := later(func() error {
			defer conn.Close()
			if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
				return err
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			_, err = read(resp, err)
			return err
		})
		if !frozen(t, pids[0]) {
			t.Error("it was thawed by nobody")
		}
		n.start()
		if err := testutil.Receive(t, patience, "the visitor who came while no daemon ran", early); err != nil {
			t.Errorf("round %d: %v; %q", round, err, asked.story(mark))
		}
		if !frozen(t, pids[1]) {
			t.Errorf("round %d: the other site does not sleep any more: %q", round, unasked.story(mark))
		}
	}
	for i, s := range []*site{asked, unasked} {
		n.local.greet(s.addr6(80))
		if now := s.pid(); now != pids[i] {
			t.Errorf("%s: process %d became %d", s.name, pids[i], now)
		}
	}
}

// TestRootKilledAtEachStepOfFreezing: whatever the daemon was at, the next one finishes or undoes it.
func TestRootKilledAtEachStepOfFreezing(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("half", "idle: 1s", "tiers: [frozen]")
	n.outside.greet(s.addr4(80))
	pid := s.pid()
	rounds := few(8)
	for round := range rounds {
		n.outside.greet(s.addr4(80))
		<-time.After(time.Second + // which moment it is, is what is tested
			time.Duration(round-rounds/2)*testutil.Timeout(2*time.Millisecond))
		n.kill()
		n.start()
		s.sleepAgain()
		n.local.greet(s.addr6(80))
	}
	if now := s.pid(); now != pid {
		t.Errorf("process %d became %d: %q", pid, now, s.story(0))
	}
}

// TestRootPreparedAgain: the next daemon makes anew what waited at its gate.
func TestRootPreparedAgain(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("again", "idle: 1s", "tiers: [prepared]")
	s.sleepOn("prepared")
	s.awaitTier(api.TierPrepared)
	for _, end := range []func(){n.kill, n.stop} {
		mark := n.mark()
		end()
		n.start()
		s.await(mark, "prepared")
		s.awaitTier(api.TierPrepared)
	}
	n.outside.greet(s.addr4(80))
}
