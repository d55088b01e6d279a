package netctl

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootFromWithin: whoever asks a replica from within reaches what listens on 127.0.0.1, is seen as a loopback address at the VIP too, and
// can tell people on what there is to listen.
func TestRootFromWithin(t *testing.T) {
	testutil.Privileged(t)
	n := setup(t, testutil.NetNS(t), testConfig(t), &fakeDatapath{})
	defer remove(t, n)
	space := get(t, n)
	vips := []netip.Addr{netip.MustParseAddr("10.77.0.9"), netip.MustParseAddr("fd77:fc::9")}
	if err := space.Assign(vips...); err != nil {
		t.Fatal(err)
	}
	var listeners []net.Listener
	inside{space.FD()}.Do(t, func() {
		for _, at := range []string{"127.0.0.1:9000", "0.0.0.0:80", "[::]:81"} {
			network := "tcp4"
			if at[0] == '[' {
				network = "tcp6"
			}
			l, err := new(net.ListenConfig).Listen(t.Context(), network, at)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			listeners = append(listeners, l)
		}
		u, err := net.ListenPacket("udp4", "0.0.0.0:53")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { u.Close() })
	})
	for i, to := range []string{"127.0.0.1:9000", "10.77.0.9:80", "[fd77:fc::9]:81"} {
		from := netip.IPv6Loopback()
		if i < 2 {
			from = netip.MustParseAddr("127.0.0.1")
		}
		c, err := space.Dial(t.Context(), from, netip.MustParseAddrPort(to))
		if err != nil {
			t.Fatalf("to %s: %v", to, err)
		}
		seen, err := listeners[i].Accept()
		if err != nil {
			t.Fatal(err)
		}
		if got := netip.MustParseAddrPort(seen.RemoteAddr().String()).Addr().Unmap(); got != from {
			t.Errorf("%s sees %s, want %s", to, got, from)
		}
		_, _ = c.Close(), seen.Close()
	}
	for _, to := range []string{"127.0.0.1:1", "10.77.0.9:1", "[::1]:1"} {
		to := netip.MustParseAddrPort(to)
		from := netip.IPv6Loopback()
		if to.Addr().Is4() {
			from = netip.MustParseAddr("127.0.0.1")
		}
		ctx, cancel := context.WithTimeout(t.Context(), testutil.Timeout(5*time.Second))
		if _, err := space.Dial(ctx, from, to); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("nobody listens on %s: %v, want it refused at once", to, err)
		}
		cancel()
	}
	on, err := space.Listeners()
	want := []string{"0.0.0.0:80", "127.0.0.1:9000", "[::]:81", "udp 0.0.0.0:53"}
	if err != nil || !slices.Equal(on, want) {
		t.Errorf("it listens on %q (%v), want %q", on, err, want)
	}
	if err := space.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = space.Dial(t.Context(), netip.MustParseAddr("127.0.0.1"), netip.MustParseAddrPort("127.0.0.1:80"))
	if _, listErr := space.Listeners(); !errors.Is(err, ErrClosed) || !errors.Is(listErr, ErrClosed) {
		t.Errorf("after Close: %v, %v", err, listErr)
	}
}
