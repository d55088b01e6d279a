package e2e

import (
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/tests/testutil"
)

// asks has the site ask the world outside, and gives the answer, which says who asked.
func (s *site) asks(url4or6 string) (string, error) {
	a, err := s.n.outside.get(s.addr4(80), "/fetch?url="+url.QueryEscape(url4or6))
	return a.body, err
}

// largeEcho sends a datagram of several fragments to a site from a socket that takes answers from there only.
func (c *client) largeEcho(t *testing.T, to netip.AddrPort) {
	t.Helper()
	conn, err := c.dial(t.Context(), "udp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	question := strings.Repeat("x", 4000)
	buf := make([]byte, 8000)
	testutil.WaitFor(t, patience, "the answer to a large datagram from the address that was asked", func() error {
		if _, err := conn.Write([]byte(question)); err != nil {
			return err
		}
		if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return err
		}
		n, err := conn.Read(buf)
		if err == nil && string(buf[:n]) != "echo "+question {
			t.Errorf("the answer has %d bytes", n)
		}
		return err
	})
}

// TestRootEgress: by default sites leave private prefixes under the node's address, also when the daemon is dead; visitors are seen under
// theirs, and answered from the site's, whatever way they came.
func TestRootEgress(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "nftables")
	t.Parallel()
	onEachWay(t, "", func(t *testing.T, n *node) {
		s := n.deploy("visitor", "env: {GUEST: serve, LISTEN: 'tcp/:80 udp/:53'}", "ports: [80/tcp, 53/udp]")
		world := n.outside.serve(t)
		out := func(when string) {
			t.Helper()
			for to, want := range map[string]string{"198.51.100.2": "198.51.100.1", "[2001:db8:77::2]": "2001:db8:77::1"} {
				if body, err := s.asks("http://" + to + world); err != nil || !strings.Contains(body, "question of "+want+"\n") {
					t.Errorf("%s, the site asks %s and gets %q (%v), want it to come from %s", when, to, body, err, want)
				}
			}
			if seen := n.outside.greet(s.addr4(80)); seen == "" {
				t.Error("nobody")
			}
			n.outside.largeEcho(t, s.addr4(53))
		}
		out("with a daemon")
		n.kill()
		out("without a daemon")
		n.start()
		out("with the next daemon")
	})
}

// TestRootEgressNone: what a site begins is refused at once, and visitors are served.
func TestRootEgressNone(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "nftables")
	t.Parallel()
	n := newNode(t, options{more: "egress: none"})
	s, other := n.deploy("visitor", "network: {allow: [site:other]}"), n.deploy("other")
	world := n.outside.serve(t)
	for _, to := range []string{"198.51.100.2", "[2001:db8:77::2]"} {
		// What the kernel makes of "administratively prohibited", in each family.
		if _, err := s.asks("http://" + to + world); err == nil || !strings.Contains(err.Error(), "no route to host") && !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("the site asks %s: %v, want a refusal", to, err)
		}
	}
	if body, err := s.asks("http://" + net.JoinHostPort(other.v4.String(), "80") + "/"); err != nil || !strings.Contains(body, " by other") {
		t.Errorf("the site asks another and gets %q, %v", body, err)
	}
	says(t, "check", n.cli("check", "--config", n.path("fcnode.yaml")), "egress", "none")
	n.write("fcnode.yaml", "egress: masqerade\n")
	says(t, "run", n.cliFails("run", "--config", n.path("fcnode.yaml")), "fcnode.yaml:1:9", "did you mean masquerade?")
	n.configure(options{more: "egress: none"})
}
