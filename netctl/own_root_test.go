package netctl

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootOwnConns: of a namespace's connections those are its own that a process of it has opened to somebody outside; the kernel says since when
// nothing has moved on them.
func TestRootOwnConns(t *testing.T) {
	testutil.Privileged(t)
	node := testutil.NetNS(t)
	n := setup(t, node, testConfig(t), &fakeDatapath{})
	defer remove(t, n)
	space := get(t, n)
	if err := space.Assign(netip.MustParseAddr("10.77.0.9"), netip.MustParseAddr("fd77:fc::9")); err != nil {
		t.Fatal(err)
	}
	// Outside is another namespace, behind a cable of its own: the data path is a fake one.
	outside := testutil.NetNS(t)
	in := inside{space.FD()}
	link := netlink.NewVeth(netlink.LinkAttrs{Name: "out0"})
	link.PeerName, link.PeerNamespace = "out1", netlink.NsFd(outside.FD())
	var server net.Listener
	in.Do(t, func() {
		up(t, link, "out0", "192.0.2.9/24")
	})
	outside.Do(t, func() {
		up(t, nil, "out1", "192.0.2.1/24")
		var err error
		if server, err = new(net.ListenConfig).Listen(t.Context(), "tcp4", "192.0.2.1:3306"); err != nil {
			t.Fatal(err)
		}
	})
	defer server.Close()
	dial := func(within func(testing.TB, func()), network, to string) net.Conn {
		var c net.Conn
		within(t, func() {
			var err error
			if c, err = new(net.Dialer).DialContext(t.Context(), network, to); err != nil {
				t.Fatal(err)
			}
		})
		t.Cleanup(func() { c.Close() })
		return c
	}
	accept := func(l net.Listener) net.Conn {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	// A visitor, and two who stay inside, by the loopback and by the VIP.
	var own net.Listener
	in.Do(t, func() {
		var err error
		if own, err = new(net.ListenConfig).Listen(t.Context(), "tcp", ":80"); err != nil {
			t.Fatal(err)
		}
	})
	defer own.Close()
	dial(outside.Do, "tcp4", "192.0.2.9:80")
	for _, to := range []string{"127.0.0.1:80", "[::1]:80", "10.77.0.9:80", "[fd77:fc::9]:80"} {
		dial(in.Do, "tcp", to)
	}
	wantOwn := func(what string, is func([]OwnConn) bool) {
		t.Helper()
		testutil.WaitFor(t, testutil.Timeout(10*time.Second), what, func() error {
			conns, err := space.OwnConns()
			if err == nil && !is(conns) {
				err = fmt.Errorf("there are %+v", conns)
			}
			return err
		})
	}
	wantOwn("none", func(c []OwnConn) bool { return len(c) == 0 })
	c := dial(in.Do, "tcp", "192.0.2.1:3306")
	s := accept(server)
	one := func(is func(OwnConn) bool) func([]OwnConn) bool {
		return func(all []OwnConn) bool {
			return len(all) == 1 && all[0].Up && all[0].To == netip.MustParseAddrPort("192.0.2.1:3306") && is(all[0])
		}
	}
	wantOwn("one that rests", one(func(c OwnConn) bool {
		return c.Sent > 100*time.Millisecond && c.Received > 100*time.Millisecond
	}))
	if _, err := c.Write([]byte("SELECT 1")); err != nil {
		t.Fatal(err)
	}
	wantOwn("one that waits for an answer", one(func(c OwnConn) bool { return c.Sent < c.Received }))
	if _, err := s.Write([]byte("1")); err != nil {
		t.Fatal(err)
	}
	wantOwn("one that was answered", one(func(c OwnConn) bool { return c.Received <= c.Sent }))
	_ = s.Close()
	wantOwn("none that the other end has closed", func(c []OwnConn) bool { return len(c) == 0 })
	if err := space.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := space.OwnConns(); err == nil {
		t.Error("connections of a namespace that is closed")
	}
}

// up makes a link where it runs, if there is one to make, and gives it an address.
func up(t *testing.T, make netlink.Link, name, addr string) {
	t.Helper()
	if make != nil {
		if err := netlink.LinkAdd(make); err != nil {
			t.Fatal(err)
		}
	}
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	a, err := netlink.ParseAddr(addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrAdd(l, a); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(l); err != nil {
		t.Fatal(err)
	}
}

// TestOwnConns: what the kernel tells is told apart by states, ports and addresses.
func TestOwnConns(t *testing.T) {
	socket := func(state uint8, from, to string) *netlink.InetDiagTCPInfoResp {
		a, b := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
		return &netlink.InetDiagTCPInfoResp{InetDiagMsg: &netlink.Socket{State: state, ID: netlink.SocketID{
			Source: a.Addr().AsSlice(), SourcePort: a.Port(), Destination: b.Addr().AsSlice(), DestinationPort: b.Port(),
		}}, TCPInfo: &netlink.TCPInfo{Last_data_sent: 1500, Last_data_recv: 20, Last_ack_recv: 10}}
	}
	got := ownConns([]*netlink.InetDiagTCPInfoResp{
		socket(netlink.TCP_ESTABLISHED, "10.77.0.9:80", "203.0.113.9:1234"), // a visitor
		socket(netlink.TCP_LISTEN, "[::]:80", "[::]:0"),
		socket(netlink.TCP_ESTABLISHED, "[::ffff:10.77.0.9]:40000", "[::ffff:10.0.0.5]:3306"),
		socket(netlink.TCP_SYN_SENT, "[fd77:fc::9]:40001", "[2001:db8::1]:25"),
		socket(netlink.TCP_CLOSE_WAIT, "10.77.0.9:40002", "10.0.0.5:3306"),
		socket(netlink.TCP_TIME_WAIT, "10.77.0.9:40003", "10.0.0.5:3306"),
		socket(netlink.TCP_ESTABLISHED, "127.0.0.1:40004", "127.0.0.1:9000"),
		socket(netlink.TCP_ESTABLISHED, "10.77.0.9:40005", "10.77.0.9:9000"),
	})
	if len(got) != 2 || got[0] != (OwnConn{To: netip.MustParseAddrPort("10.0.0.5:3306"), Up: true, Sent: 1500 * time.Millisecond, Received: 20 * time.Millisecond, Heard: 10 * time.Millisecond}) ||
		got[1].To != netip.MustParseAddrPort("[2001:db8::1]:25") || got[1].Up {
		t.Errorf("%+v", got)
	}
}
