package e2e

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootPortRanges: a site with ranges of ports is woken by one in their middle, whichever its application opens first, and serves several at
// once. A port of a range that nobody has opened is refused by the site itself, one beside it without waking anybody.
func TestRootPortRanges(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("ranges", "ports: [7000-7010/tcp, 8000-8010/udp]",
		"env: {GUEST: serve, LISTEN: 'tcp/:7000 udp/:8000 tcp/:7003 tcp/:7005 udp/:8007 tcp/:7010'}")
	if got, want := s.get().Ports, []string{"7000-7010/tcp", "8000-8010/udp"}; !slices.Equal(got, want) {
		t.Errorf("its ports are %v, want %v", got, want)
	}
	for _, c := range []*client{n.outside, n.local} {
		for _, a := range []netip.Addr{s.v4, s.v6} {
			at := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }
			ask := func(port uint16) {
				t.Helper()
				conn, err := c.dial(t.Context(), "udp", at(port).String())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if got, err := askUDP(conn, "who"); err != nil || got != "echo who" {
					t.Errorf("%s client: %s/udp answers %q, %v", c.name, at(port), got, err)
				}
			}
			s.park()
			c.refused(n, at(7011))
			c.refused(n, at(8000)) // open for UDP
			c.refusedUDP(at(8011))
			if p := s.get().Phase; p != api.PhaseParked {
				t.Errorf("%s client: ports beside the ranges were asked for, and the site is %s", c.name, p)
			}
			for _, first := range []func(){func() { c.greet(at(7005)) }, func() { ask(8007) }, func() { c.greet(at(7010)) }} {
				s.park()
				mark := n.mark()
				first()
				if got := s.starts(mark); got != 1 {
					t.Errorf("%d starts: %q", got, s.story(mark))
				}
			}
			var open []kept
			for _, port := range []uint16{7000, 7003, 7005, 7010} {
				open = append(open, c.keep(at(port)))
			}
			ask(8000)
			ask(8007)
			for _, v := range open {
				if err := v.ask(); err != nil {
					t.Errorf("%s client: %v", c.name, err)
				}
				_ = v.conn.Close()
			}
			if conn, err := c.connect(at(7004)); !errors.Is(err, unix.ECONNREFUSED) { // held until the port grace is over
				if err == nil {
					_ = conn.Close()
				}
				t.Errorf("%s client: %s, where nobody listens: %v, want it refused", c.name, at(7004), err)
			}
			c.refused(n, at(7004))
			c.refusedUDP(at(8001))
			c.refused(n, at(7011))
			network := map[bool]string{true: "tcp4", false: "tcp6"}[a.Is4()]
			c.mustGet(at(7000), "/listen?on="+network+"/:7007")
			c.greet(at(7007))
		}
	}
}
