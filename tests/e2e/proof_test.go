package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// forgedSYN is one to an address, by a sender who will never hear of the answer.
func forgedSYN(src, dst netip.AddrPort) []byte {
	tcp := make([]byte, 20)
	tcp[12], tcp[13], tcp[14] = 5<<4, 2, 0xff
	return rawIPv4(src, dst, 6, 0, 0, tcp)
}

// TestRootForgedHandshakesWakeNobody: a flood of SYNs with forged sources over sites that sleep wakes none of them where proofs are always asked for; where they are by
// need it wakes what may be held on trust, and it is told. Meanwhile visitors are served from cold, from outside, by either family, and from the machine itself, and carry
// as much as ever both ways.
func TestRootForgedHandshakesWakeNobody(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	const packets, trusted = 4000, 64
	for proof, sites := range map[string]int{"always": 8, "auto": 2 * trusted} {
		t.Run(proof, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, options{more: "wake: {source: {burst: 0}, site: {burst: 0}, proof: " + proof + "}"})
			flooded := n.deployMany("flooded", sites)
			visited := n.deploy("visited", "idle: 5m", "tiers: [cold]")
			mark := n.mark()
			stop := make(chan struct{})
			sent := make(chan int)
			flood := func(total int) {
				n.outside.flood(total, func(i int, src netip.AddrPort) []byte { return forgedSYN(src, flooded[i%sites].addr4(80)) })
			}
			begin := time.Now()
			flood(packets / 2)
			go func() {
				total := packets / 2
				for {
					select {
					case <-stop:
						sent <- total
						return
					default:
					}
					flood(100)
					total += 100
				}
			}()
			for range few(3) {
				for _, to := range []netip.AddrPort{visited.addr4(80), visited.addr6(80)} {
					visited.park()
					n.outside.greet(to)
				}
				visited.park()
				n.outside.transfer(visited.addr4(80), 1<<20)
				visited.park()
				n.local.greet(visited.addr4(80))
			}
			close(stop)
			total := <-sent
			starts := 0
			for _, s := range flooded {
				starts += s.starts(mark)
			}
			held, asked := n.packets("held"), n.packets("proof_asked")
			t.Logf("%d forged SYNs: %d starts, %d packets held, %d asked for a proof", total, starts, held, asked)
			if proof == "always" && starts != 0 {
				t.Errorf("%d starts, want none", starts)
			}
			// One comes back each second, and one with each visitor from outside who ends his handshake.
			if most := int(trusted + 4*float64(few(3)) + 2 + time.Since(begin).Seconds()); proof == "auto" && starts > most {
				t.Errorf("%d starts of %d sites, %d packets held, want %d starts at most", starts, sites, held, most)
			}
			if proof == "always" && asked < total {
				t.Errorf("%d of %d are asked for a proof", asked, total)
			}
			if proof == "auto" {
				if ev := (&site{n: n}).await(mark, "limited"); !strings.Contains(ev.Text, "wake.proof: auto") {
					t.Errorf("told %q, %q", ev.Reason, ev.Text)
				}
			}
		})
	}
}

// deployMany deploys sites that start at their first packet and sleep as nothing, with one request.
func (n *node) deployMany(name string, count int) []*site {
	n.t.Helper()
	var texts []string
	for i := range count {
		texts = append(texts, n.spec(fmt.Sprintf("%s-%d", name, i), "idle: 5m", "tiers: [cold]"))
	}
	return n.applyAll(texts...)
}

// TestRootProofOutlivesTheDaemon: who has proven his address, and asked, before the daemon was killed gets his answer from the next one.
func TestRootProofOutlivesTheDaemon(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{more: "wake: {proof: always}"})
	s := n.deploy("slow", "idle: 5m", "tiers: [cold]", "env: {GUEST: serve, START: 2s}")
	for _, to := range []netip.AddrPort{s.addr4(80), s.addr6(80)} {
		s.park()
		before := n.packets("proof_given")
		conn, err := n.outside.connect(to)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET / HTTP/1.0\r\n\r\n")
		testutil.WaitFor(t, patience, "the proof", func() error {
			if got := n.packets("proof_given"); got == before {
				return fmt.Errorf("%d were given", got)
			}
			return nil
		})
		n.kill()
		n.start()
		_ = conn.SetDeadline(time.Now().Add(testutil.Timeout(patience)))
		answer, err := io.ReadAll(conn)
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.0 200") {
			t.Errorf("%s answers %q (%v)", to, answer, err)
		}
	}
}

// TestRootProofOfASiteThatFails: who has proven his address to a site that does not start learns that by a reset.
func TestRootProofOfASiteThatFails(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{more: "wake: {proof: always}"})
	broken := func(name string) *site {
		return n.deploy(name, "idle: 5m", "tiers: [cold]", "env: {GUEST: exit}")
	}
	for _, to := range []netip.AddrPort{broken("broken-4").addr4(80), broken("broken-6").addr6(80)} {
		conn, err := n.outside.connect(to)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(testutil.Timeout(patience)))
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("%s: %v, want a reset", to, err)
		}
		conn.Close()
	}
}

// TestRootForgedHandshakesLeaveFrozenAsleep: nor do they wake a replica that is frozen; who ends his handshake does, whether he says something or waits to be spoken to.
func TestRootForgedHandshakesLeaveFrozenAsleep(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{more: "wake: {proof: always, unused: 1s}"})
	s := n.deploy("icy", "idle: 1s", "tiers: [frozen]")
	n.outside.greet(s.addr4(80))
	for _, visit := range []func(){
		func() { n.outside.greet(s.addr4(80)) },
		func() { n.outside.greet(s.addr6(80)) },
		func() {
			conn, err := n.outside.connect(s.addr4(80))
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
		},
	} {
		testutil.WaitFor(t, patience, "sleep", func() error {
			if v := s.get(); v.Tier != api.TierFrozen {
				return fmt.Errorf("it is %s", v.Tier)
			}
			return nil
		})
		mark := n.mark()
		n.outside.flood(2000, func(_ int, src netip.AddrPort) []byte { return forgedSYN(src, s.addr4(80)) })
		if v := s.get(); v.Tier != api.TierFrozen {
			t.Errorf("after the flood it is %s", v.Tier)
		}
		visit()
		s.await(mark, "running") // it is shown as frozen until then, though it may have answered
		if got := s.starts(mark); got != 1 {
			t.Errorf("%d wakes, want that of the visitor", got)
		}
	}
}
