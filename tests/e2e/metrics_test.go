package e2e

import (
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootSiteReachesNoMetrics: a daemon that gives its metrics on every address of the machine gives none to a site, whichever address that
// tries: those of the machine's links, of the site itself and of another, of the gateway that its routes name. Nor does it find the daemon's sockets.
func TestRootSiteReachesNoMetrics(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newMachine(t, options{})
	n.configure(options{more: `metrics: {listen: "[::]:9400"}`})
	n.start()
	s, other := n.deploy("tenant"), n.deploy("other")
	own := n.deploy("own", "userns: private")
	n.outside.greet(s.addr4(80))
	n.outside.greet(own.addr4(80))
	other.wake()

	targets := map[string]bool{}
	add := func(host string) { targets[net.JoinHostPort(host, "9400")] = true }
	for _, host := range []string{"127.0.0.1", "::1", "0.0.0.0", "::", "localhost", "169.254.0.1", "fe80::1%eth0"} {
		add(host)
	}
	for _, a := range []netip.Addr{s.v4, s.v6, other.v4, other.v6, own.v4, own.v6, s.v4.Next(), netip.MustParsePrefix(prefix4).Addr(), netip.MustParsePrefix(prefix6).Addr().Next()} {
		add(a.String())
	}
	var outward []netip.Addr // those that the outside client reaches, which shows that the daemon listens
	n.ns.Do(t, func() {
		addrs, err := net.InterfaceAddrs()
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range addrs {
			addr := netip.MustParsePrefix(a.String()).Addr()
			if addr.IsLinkLocalUnicast() && addr.Is6() {
				add(addr.WithZone("eth0").String())
				continue
			}
			add(addr.String())
			if addr.Is4() {
				add("::ffff:" + addr.String())
			}
			if addr.IsGlobalUnicast() {
				outward = append(outward, addr)
			}
		}
	})
	reached := 0
	for _, a := range outward {
		if conn, err := n.outside.connect(netip.AddrPortFrom(a, 9400)); err == nil {
			_ = conn.Close() // nothing was said
			reached++
		}
	}
	if reached < 2 {
		t.Errorf("the outside client reaches %d of the addresses %v, want one of each family at least", reached, outward)
	}
	var all sync.WaitGroup
	defer all.Wait()
	for _, from := range []*site{s, own} {
		for to := range targets {
			all.Go(func() {
				if got, said := from.tries(to); got {
					t.Errorf("site %s reaches the metrics at %s: %s", from.name, to, said)
				}
			})
		}
		for _, socket := range []string{"fcnode.sock", "fcnode-routes.sock"} {
			if got := n.outside.mustGet(from.addr4(80), "/sockets?more="+n.run(socket)).body; got != "" {
				t.Errorf("site %s reaches unix sockets: %s", from.name, got)
			}
		}
	}
}
