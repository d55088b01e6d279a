package bpf

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/tests/testutil"
	"golang.org/x/sys/unix"
)

// ownCgroup is the one that the test binary, and so its sockets, are in.
const ownCgroup = "/sys/fs/cgroup/main"

// socketRig is a rig that sees the sockets of a namespace, which is replica 5
// of site 1, or nobody's if `known` is not set.
func socketRig(t testing.TB, known bool) (*rig, *testutil.NS) {
	t.Helper()
	r := newSocketRig(t)
	r.listen(t, 1, vip4, vip6)
	ns := testutil.NetNS(t)
	ownAddresses(t, ns, "10.77.0.2/32", "fd77:fc::2/128", "10.77.0.3/32")
	if known {
		err := r.AddReplica(5, Replica{Site: 1, Ifindex: 1005, NSID: -1, Cookie: ns.Cookie(t), VIP4: vip4, VIP6: vip6})
		if err != nil {
			t.Fatal(err)
		}
	}
	return r, ns
}

// ownAddresses gives a namespace's lo addresses that are reached at once. The local route of one of IPv6 is made by a worker of the
// kernel's, some time after the address: until then a network is unreachable, or goes another way. So each has a route from here, too.
func ownAddresses(t testing.TB, ns *testutil.NS, addrs ...string) {
	t.Helper()
	for _, a := range addrs {
		ns.Run(t, "ip", "address", "add", a, "dev", "lo", "nodad")
		if strings.Contains(a, ":") {
			ns.Run(t, "ip", "-6", "route", "replace", "local", a, "dev", "lo", "table", "local")
		}
	}
}

type socketSpec struct {
	udp, only6, mptcp, shared bool
	at                        netip.AddrPort
}

// open opens it inside of a namespace, bound and (TCP) listening, and returns
// its descriptor, which is closed with the test.
func (s socketSpec) open(t testing.TB, ns *testutil.NS) int {
	t.Helper()
	fd := s.openFD(t, ns)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// openFD leaves the closing to the test's body.
func (s socketSpec) openFD(t testing.TB, ns *testutil.NS) (fd int) {
	t.Helper()
	family, kind, proto := unix.AF_INET, unix.SOCK_STREAM, 0
	var sa unix.Sockaddr
	if a := s.at.Addr(); a.Is4() {
		sa = &unix.SockaddrInet4{Port: int(s.at.Port()), Addr: a.As4()}
	} else {
		family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: int(s.at.Port()), Addr: a.As16()}
	}
	if s.udp {
		kind = unix.SOCK_DGRAM
	}
	if s.mptcp {
		proto = unix.IPPROTO_MPTCP
	}
	ns.Do(t, func() {
		var err error
		if fd, err = unix.Socket(family, kind|unix.SOCK_CLOEXEC, proto); err != nil {
			t.Fatal(err)
		}
		if family == unix.AF_INET6 {
			only := 0
			if s.only6 {
				only = 1
			}
			err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only)
		}
		if err == nil && s.shared {
			err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}
		if err == nil {
			err = unix.Bind(fd, sa)
		}
		if err == nil && !s.udp {
			err = unix.Listen(fd, 16)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	return fd
}

func wantReady(t testing.TB, r *rig, ready4, ready6 uint32) {
	t.Helper()
	st, err := r.Stats(5)
	if err != nil {
		t.Fatal(err)
	}
	if st.Ready4 != ready4 || st.Ready6 != ready6 {
		t.Errorf("ports listened on: %03b for IPv4, %03b for IPv6, want %03b, %03b", st.Ready4, st.Ready6, ready4, ready6)
	}
	ev, any := r.nextEvent(t)
	if ready4|ready6 == 0 {
		if any {
			t.Errorf("event %+v, want none", ev)
		}
		return
	}
	want := Event{Time: ev.Time, Kind: EventReady, Site: 1, Replica: 5, Ready4: ready4, Ready6: ready6}
	if !any || ev != want {
		t.Errorf("event %+v, want %+v", ev, want)
	}
}

// Ports: bit 0 is 80/tcp, 1 is 443/tcp, 2 is 53/udp.
func TestRootReadinessFromTheKernel(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "netns cookie in sock_ops")
	at := netip.MustParseAddrPort
	for _, c := range []struct {
		name           string
		socket         socketSpec
		ready4, ready6 uint32
	}{
		{"any IPv4", socketSpec{at: at("0.0.0.0:80")}, 1, 0},
		{"dual-stack", socketSpec{at: at("[::]:80")}, 1, 1},
		{"dual-stack, MPTCP", socketSpec{at: at("[::]:80"), mptcp: true}, 1, 1},
		{"only IPv6", socketSpec{at: at("[::]:80"), only6: true}, 0, 1},
		{"the VIP", socketSpec{at: at("10.77.0.2:443")}, 2, 0},
		{"the IPv6 VIP", socketSpec{at: at("[fd77:fc::2]:443")}, 0, 2},
		{"the VIP, mapped", socketSpec{at: at("[::ffff:10.77.0.2]:80")}, 1, 0},
		{"loopback", socketSpec{at: at("127.0.0.1:80")}, 0, 0},
		{"IPv6 loopback", socketSpec{at: at("[::1]:80")}, 0, 0},
		{"another address", socketSpec{at: at("10.77.0.3:80")}, 0, 0},
		{"another port", socketSpec{at: at("0.0.0.0:81")}, 0, 0},
		{"UDP port by TCP", socketSpec{at: at("0.0.0.0:53")}, 0, 0},
		{"UDP", socketSpec{udp: true, at: at("0.0.0.0:53")}, 4, 0},
		{"UDP, dual-stack", socketSpec{udp: true, at: at("[::]:53")}, 4, 4},
		{"UDP, the VIP", socketSpec{udp: true, at: at("[fd77:fc::2]:53")}, 0, 4},
		{"UDP, loopback", socketSpec{udp: true, at: at("127.0.0.1:53")}, 0, 0},
		{"TCP port by UDP", socketSpec{udp: true, at: at("0.0.0.0:80")}, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.socket.mptcp {
				testutil.RequireFeature(t, "MPTCP")
			}
			r, ns := socketRig(t, true)
			c.socket.open(t, ns)
			wantReady(t, r, c.ready4, c.ready6)
		})
	}
}

func TestRootReadinessPortByPort(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "netns cookie in sock_ops")
	r, ns := socketRig(t, true)
	at := netip.MustParseAddrPort
	socketSpec{at: at("0.0.0.0:80")}.open(t, ns)
	wantReady(t, r, 1, 0)
	socketSpec{at: at("[::]:443")}.open(t, ns)
	wantReady(t, r, 3, 2)
	socketSpec{udp: true, at: at("[::]:53")}.open(t, ns)
	wantReady(t, r, 7, 6)
	socketSpec{at: at("[::]:80"), only6: true}.open(t, ns)
	wantReady(t, r, 7, 7)
}

func TestRootSocketsOfOthersAreNobodysReadiness(t *testing.T) {
	testutil.Privileged(t)
	r, ns := socketRig(t, false)
	socketSpec{at: netip.MustParseAddrPort("[::]:80")}.open(t, ns)
	if ev, any := r.nextEvent(t); any {
		t.Errorf("event %+v of a namespace that is no replica's", ev)
	}
}

// connections waits until so many are counted: the last packets of a
// connection's end need not be through when close() returns.
func (r *rig) connections(t testing.TB, now, total uint64) {
	t.Helper()
	testutil.WaitFor(t, 5*time.Second, "the count of connections", func() error {
		st, err := r.Stats(5)
		if err != nil {
			return err
		}
		if st.ConnsNow != now || st.ConnsTotal != total {
			return fmt.Errorf("%d now, %d in all, want %d and %d", st.ConnsNow, st.ConnsTotal, now, total)
		}
		return nil
	})
}

func TestRootConnectionsAreCounted(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "netns cookie in sock_ops")
	for _, addr := range []string{"10.77.0.2:80", "[fd77:fc::2]:80"} {
		t.Run(addr, func(t *testing.T) {
			r, ns := socketRig(t, true)
			socketSpec{at: netip.MustParseAddrPort("[::]:80")}.open(t, ns)
			wantReady(t, r, 1, 1)
			dial := func(to string) net.Conn {
				t.Helper()
				conn := connect(t, ns, to)
				t.Cleanup(func() { conn.Close() })
				return conn
			}
			dial("127.0.0.1:80") // the container talks to itself
			from := "127.0.0.1:0"
			if addr[0] == '[' {
				from = "[::1]:0"
			}
			probe := connectFrom(t, ns, from, addr) // the daemon asks it
			t.Cleanup(func() { probe.Close() })
			r.connections(t, 0, 0)
			before := Now()
			first := dial(addr)
			r.connections(t, 1, 1)
			ev, ok := r.nextEvent(t)
			if !ok || ev.Kind != EventEstablished || ev.Replica != 5 || ev.Time < before {
				t.Errorf("event %+v, want the first connection", ev)
			}
			second := dial(addr)
			r.connections(t, 2, 2)
			if ev, any := r.nextEvent(t); any {
				t.Errorf("said twice: %+v", ev)
			}
			st, err := r.Stats(5)
			if err != nil || st.Established != ev.Time || st.Last < st.Established {
				t.Errorf("counters %+v (%v)", st, err)
			}
			abort(t, second)
			r.connections(t, 1, 2)
			abort(t, first)
			r.connections(t, 0, 2)
			if after, err := r.Stats(5); err != nil || after.Last != st.Last || after.Used != 0 {
				t.Errorf("connections that never carried anything have ended: %+v (%v), %+v before", after, err, st)
			}
		})
	}
}

// abort ends a connection by a RST: the server here never calls accept().
func abort(t testing.TB, c net.Conn) {
	t.Helper()
	if err := c.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// connect opens a connection from inside of a namespace. The routes of its IPv6
// addresses come, and may go for a moment, while workers of the kernel's are
// busy with the new namespace.
func connect(t testing.TB, ns *testutil.NS, to string) net.Conn {
	t.Helper()
	return connectFrom(t, ns, "", to)
}

func connectFrom(t testing.TB, ns *testutil.NS, from, to string) (conn net.Conn) {
	t.Helper()
	var d net.Dialer
	if from != "" {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from))
	}
	testutil.WaitFor(t, 5*time.Second, "a route to "+to, func() (err error) {
		ns.Do(t, func() { conn, err = d.DialContext(t.Context(), "tcp", to) })
		if err != nil && !errors.Is(err, unix.ENETUNREACH) {
			t.Fatal(err)
		}
		return err
	})
	return conn
}
