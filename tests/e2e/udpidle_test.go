package e2e

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// lasts talks on until a flow of UDP, the site's only one, counts as one that lasts.
func (s *site) lasts(flow net.Conn) (out []api.Replica) {
	s.n.t.Helper()
	testutil.WaitFor(s.n.t, patience, "a flow of UDP that lasts", func() error {
		if got, err := askUDP(flow, "and"); err != nil || got != "echo and" {
			s.n.t.Fatalf("the flow of datagrams: %q, %v", got, err)
		}
		v := s.get()
		if out = v.Replicas; v.Flows != 1 {
			return fmt.Errorf("%d flows last", v.Flows)
		}
		return nil
	})
	return out
}

// TestRootFlowOfUDPKeepsAwake: a session by UDP keeps its site awake until nothing has passed in it for udpIdle, though the site would sleep
// sooner; a question and its answer do not.
func TestRootFlowOfUDPKeepsAwake(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	const idle = 10 * time.Second
	n := newNode(t, options{})
	s := n.deploy("session", "idle: 3s", "tiers: [cold]", "udpIdle: 10s", "ports: [53/udp]", "env: {GUEST: serve, LISTEN: 'udp/:53'}")
	for i, c := range []*client{n.outside, n.local} {
		to := s.addr4(53)
		if i == 1 {
			to = s.addr6(53)
		}
		flow, err := c.dial(t.Context(), "udp", to.String())
		if err != nil {
			t.Fatal(err)
		}
		defer flow.Close()
		mark := n.mark()
		if got, err := askUDP(flow, "one"); err != nil || got != "echo one" {
			t.Fatalf("%q, %v", got, err)
		}
		s.await(mark, "parked")
		s.lasts(flow)
		mark = n.mark()
		last := time.Now()
		if got, err := askUDP(flow, "last"); err != nil || got != "echo last" {
			t.Fatalf("%q, %v", got, err)
		}
		ev := s.await(mark, "parked")
		if silent := ev.Time.Sub(last); silent < idle {
			t.Errorf("%s client: the site sleeps after %v of silence, want %v: %q", c.name, silent, idle, s.story(mark))
		}
		if v := s.get(); v.Flows != 0 {
			t.Errorf("it sleeps and has %d flows", v.Flows)
		}
	}
}
