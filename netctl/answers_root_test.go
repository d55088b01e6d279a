package netctl

import (
	"net/netip"
	"testing"

	"github.com/fcnode/fcnode/tests/testutil"
)

func TestRootAnswersFrom(t *testing.T) {
	testutil.Privileged(t)
	node, db := testutil.NetNS(t), testutil.NetNS(t)
	testutil.Cable(t, node, db, "db0",
		[]netip.Prefix{netip.MustParsePrefix("10.88.0.1/24"), netip.MustParsePrefix("fd88::1/64")},
		[]netip.Prefix{netip.MustParsePrefix("10.88.0.2/24"), netip.MustParsePrefix("fd88::2/64")})
	want := func(addr, link string, forwarded bool) {
		t.Helper()
		node.Do(t, func() {
			if l, ok, err := AnswersFrom(netip.MustParseAddr(addr)); l != link || ok != forwarded || err != nil {
				t.Errorf("answers from %s come by %q, passed on: %t (%v); want %q, %t", addr, l, ok, err, link, forwarded)
			}
		})
	}
	want("10.88.0.2", "db0", false)
	want("fd88::2", "db0", false)
	want("10.88.0.1", "", true) // the machine's own
	want("127.0.0.1", "", true)
	node.Sysctl(t, "net/ipv4/conf/db0/forwarding", "1")
	want("10.88.0.2", "db0", true)
	want("fd88::2", "db0", false)
	node.Sysctl(t, "net/ipv6/conf/all/forwarding", "1")
	want("fd88::2", "db0", true)
	node.Do(t, func() {
		if _, _, err := AnswersFrom(netip.MustParseAddr("192.0.2.1")); err == nil {
			t.Error("there is an answer from where no route leads")
		}
	})
}
