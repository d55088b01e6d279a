//go:build linux

package netctl

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/tests/testutil"
	"golang.org/x/sys/unix"
)

var _ Datapath = (*bpf.Datapath)(nil)

// place is a network namespace that tests work in.
type place interface {
	Do(t testing.TB, f func())
	Run(t testing.TB, name string, args ...string) string
}

// inside is a replica's namespace as a place.
type inside struct{ ns *os.File }

func (i inside) Do(t testing.TB, f func()) {
	t.Helper()
	if err := inNetns(i.ns, func() error { f(); return nil }); err != nil {
		t.Fatal(err)
	}
}

func (i inside) Run(t testing.TB, name string, args ...string) (out string) {
	t.Helper()
	i.Do(t, func() {
		b, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
		if err != nil {
			t.Errorf("%s %v: %v", name, args, err)
		}
		out = string(b)
	})
	return out
}

// openDatapath loads the programs, pinned in a folder of the test's own.
func openDatapath(t testing.TB) *bpf.Datapath {
	t.Helper()
	return openDatapathAt(t, filepath.Join("/sys/fs/bpf", testutil.Unique(t)))
}

func openDatapathAt(t testing.TB, dir string) *bpf.Datapath {
	t.Helper()
	dp, err := bpf.Open(bpf.Options{PinDir: dir})
	if err != nil {
		t.Fatalf("opening the data path: %+v", err)
	}
	t.Cleanup(func() {
		if err := errors.Join(dp.Close(), bpf.Remove(dir)); err != nil {
			t.Errorf("removing the data path: %v", err)
		}
	})
	return dp
}

// liveNode is a node with programs and an outside client.
func liveNode(t testing.TB) (node, client *testutil.NS, n *Net, dp *bpf.Datapath) {
	t.Helper()
	node, client = uplinked(t)
	for _, p := range testPrefixes {
		family, gw := "-4", "192.0.2.1"
		if p.Addr().Is6() {
			family, gw = "-6", "2001:db8::1"
		}
		client.Run(t, "ip", family, "route", "add", p.String(), "via", gw)
	}
	dp = openDatapath(t)
	cfg := testConfig(t)
	cfg.Uplinks = []string{"up0"}
	n = setup(t, node, cfg, dp)
	t.Cleanup(func() { remove(t, n) })
	return node, client, n, dp
}

// dial connects from inside of a namespace. from, if valid, is the source address.
func dial(t testing.TB, ns place, network string, to netip.AddrPort, d time.Duration) (net.Conn, error) {
	t.Helper()
	return dialAddress(t, ns, network, to.String(), d)
}

func dialAddress(t testing.TB, ns place, network, to string, d time.Duration) (conn net.Conn, err error) {
	t.Helper()
	ns.Do(t, func() {
		ctx, cancel := context.WithTimeout(t.Context(), testutil.Timeout(d))
		defer cancel()
		// The dialer makes its socket on this thread: an address needs no goroutines.
		conn, err = (&net.Dialer{}).DialContext(ctx, network, to)
	})
	return conn, err
}

var strangers = []netip.Addr{netip.MustParseAddr("10.77.200.7"), netip.MustParseAddr("fd77:fc::c8:7")}

func TestRootSinkAnswers(t *testing.T) {
	testutil.Privileged(t)
	node, client, n, dp := liveNode(t)
	replica := newReplica(t, n, dp, 1, "10.77.0.9", "fd77:fc::9")
	for _, from := range []struct {
		name string
		ns   place
	}{{"from outside", client}, {"from the node", node}, {"from a replica", replica.ns}} {
		for _, vip := range strangers {
			t.Run(from.name+" to "+vip.String(), func(t *testing.T) {
				start := time.Now()
				conn, err := dial(t, from.ns, "tcp", netip.AddrPortFrom(vip, 80), 5*time.Second)
				if !errors.Is(err, unix.ECONNREFUSED) {
					t.Errorf("TCP: got %v, %v; want a refusal", conn, err)
				}
				// A lost SYN is repeated after a second.
				if took := time.Since(start); took > testutil.Timeout(500*time.Millisecond) {
					t.Errorf("TCP: refused after %v, want at once", took)
				}
				wantUnreachable(t, from.ns, netip.AddrPortFrom(vip, 53))
				if from.ns == place(replica.ns) {
					return // echo replies find no way back into a replica
				}
				ping(t, from.ns, vip)
			})
		}
	}
}

// wantUnreachable sends a datagram and expects to be told that nobody is there.
func wantUnreachable(t testing.TB, ns place, to netip.AddrPort) {
	t.Helper()
	conn, err := dial(t, ns, "udp", to, 5*time.Second)
	if err != nil {
		t.Fatalf("UDP: %v", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(testutil.Timeout(3 * time.Second))); err != nil {
		t.Fatal(err)
	}
	if _, err = conn.Write([]byte("anybody there?")); err == nil {
		_, err = conn.Read(make([]byte, 16))
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("UDP: got %v, want a refusal", err)
	}
}

// ping expects an answer to an echo request.
func ping(t testing.TB, ns place, to netip.Addr) {
	t.Helper()
	request := []byte{8, 0, 0, 0, 0xfc, 0, 0, 1, 'f', 'c'}
	network, reply := "ip4:icmp", byte(0)
	if to.Is6() {
		network, request[0], reply = "ip6:ipv6-icmp", 128, 129 // the kernel sums up ICMPv6
	} else {
		binary.BigEndian.PutUint16(request[2:], ^fold(sum(request)))
	}
	conn, err := dialAddress(t, ns, network, to.String(), 5*time.Second)
	if err != nil {
		t.Errorf("ping: %v", err)
		return
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(testutil.Timeout(3 * time.Second))); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(request); err != nil {
		t.Errorf("ping: %v", err)
	}
	for answer := make([]byte, 64); ; { // a raw socket sees other messages too
		n, _, err := conn.(*net.IPConn).ReadFromIP(answer) // without the IPv4 header
		if err != nil {
			t.Errorf("ping: %v", err)
			return
		}
		if n == len(request) && answer[0] == reply && bytes.Equal(answer[4:n], request[4:]) {
			return
		}
	}
}

// After the device has gone packets for VIPs die on the node instead of leaving
// by its default route.
func TestRootNothingLeavesWithoutTheDevice(t *testing.T) {
	testutil.Privileged(t)
	node, _, n, _ := liveNode(t)
	node.Run(t, "ip", "route", "add", "default", "via", "192.0.2.2")
	node.Run(t, "ip", "-6", "route", "add", "default", "via", "2001:db8::2")
	node.Run(t, "ip", "link", "del", n.cfg.Device)
	for _, vip := range strangers {
		if _, err := dial(t, node, "tcp", netip.AddrPortFrom(vip, 80), 5*time.Second); !errors.Is(err, unix.EHOSTUNREACH) && !errors.Is(err, unix.ENETUNREACH) {
			t.Errorf("dialing %s without the device: %v, want unreachable", vip, err)
		}
	}
}

// replica is a namespace with VIPs that the data path knows, and no container.
type replica struct {
	*Namespace
	id    bpf.ReplicaID
	known bpf.Replica
	ns    inside
}

func newReplica(t testing.TB, n *Net, dp *bpf.Datapath, id bpf.ReplicaID, vips ...string) *replica {
	t.Helper()
	space, err := n.Pool().Get(testutil.Context(t, 10*time.Second))
	if err != nil {
		t.Fatalf("taking a namespace: %v", err)
	}
	t.Cleanup(func() {
		if err := space.Close(); err != nil {
			t.Errorf("closing a namespace: %v", err)
		}
	})
	r := &replica{Namespace: space, id: id, ns: inside{space.FD()}}
	r.known = bpf.Replica{Site: bpf.SiteID(id), Ifindex: space.HostIfindex(), NSID: space.NSID(), Cookie: space.Cookie()}
	for _, v := range vips {
		a := netip.MustParseAddr(v)
		if a.Is4() {
			r.known.VIP4 = a
		} else {
			r.known.VIP6 = a
		}
		if err := space.Assign(a); err != nil {
			t.Fatal(err)
		}
	}
	if err := dp.AddReplica(id, r.known); err != nil {
		t.Fatal(err)
	}
	return r
}

// echo answers what connects to the port, until the test ends.
func (r *replica) echo(t testing.TB, vip netip.Addr, port uint16) {
	t.Helper()
	var l net.Listener
	var err error
	r.ns.Do(t, func() { l, err = net.Listen("tcp", netip.AddrPortFrom(vip, port).String()) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				fmt.Fprintf(conn, "%s", conn.RemoteAddr())
			}()
		}
	}()
}

// A connection to a parked site is held, and completed by its first packet, not
// by a repetition a second later; from this machine, whose packets have
// incomplete checksums, and from outside.
func TestRootHoldAndRelease(t *testing.T) {
	testutil.Privileged(t)
	node, client, n, dp := liveNode(t)
	held, err := dp.Held()
	if err != nil {
		t.Fatal(err)
	}
	packets := make(chan bpf.HeldPacket)
	go func() {
		defer close(packets)
		for {
			p, err := held.Read()
			if err != nil {
				return
			}
			packets <- p
		}
	}()
	t.Cleanup(func() { held.Close() })
	release, err := n.Release()
	if err != nil {
		t.Fatal(err)
	}
	defer release.Close()
	refuse, err := n.Refuse()
	if err != nil {
		t.Fatal(err)
	}
	defer refuse.Close()
	h := NewHolder(HoldConfig{PerSite: 8, Total: 8, Deadline: time.Minute}, release, refuse, Monotonic{}, nil)

	id := bpf.ReplicaID(0)
	for _, from := range []struct {
		name string
		ns   place
	}{{"outside", client}, {"the node", node}} {
		for _, base := range []string{"10.77.1.%d", "fd77:fc::1:%d"} {
			for _, end := range []string{"released", "refused"} {
				id++
				vip := netip.MustParseAddr(fmt.Sprintf(base, id))
				t.Run(fmt.Sprintf("%s from %s to %s", end, from.name, vip), func(t *testing.T) {
					site := bpf.SiteID(id)
					l := bpf.Listener{Addr: vip, Port: 80, Proto: bpf.TCP}
					if err := dp.PutListeners(map[bpf.Listener]bpf.ListenerSite{l: {Site: site}}); err != nil {
						t.Fatal(err)
					}
					type dialed struct {
						conn net.Conn
						err  error
						took time.Duration
					}
					done := make(chan dialed, 1)
					go func() {
						start := time.Now()
						conn, err := dial(t, from.ns, "tcp", netip.AddrPortFrom(vip, 80), 10*time.Second)
						done <- dialed{conn, err, time.Since(start)}
					}()
					p := testutil.Receive(t, 5*time.Second, "the held SYN", packets)
					if first, err := h.Add(p); err != nil || !first || p.Site != site {
						t.Fatalf("Add: first %v, error %v, site %d; want true, none, %d", first, err, p.Site, site)
					}
					if end == "refused" {
						if count, err := h.Refuse(site); count != 1 || err != nil {
							t.Errorf("Refuse: %d, %v; want 1", count, err)
						}
						if d := testutil.Receive(t, 10*time.Second, "the refusal", done); !errors.Is(d.err, unix.ECONNREFUSED) {
							t.Errorf("dial: %v, want a refusal", d.err)
						} else if d.took > testutil.Timeout(900*time.Millisecond) {
							t.Errorf("refused after %v: not by the held SYN", d.took)
						}
						return
					}
					r := newReplica(t, n, dp, id, vip.String())
					r.echo(t, vip, 80)
					err := dp.SetSite(site, bpf.Site{Replicas: []bpf.SiteReplica{{ID: id, Forced: bpf.AllPorts(1)}}})
					if err != nil {
						t.Fatal(err)
					}
					if count, _, err := h.Release(site); count != 1 || err != nil {
						t.Errorf("Release: %d, %v; want 1", count, err)
					}
					d := testutil.Receive(t, 10*time.Second, "the connection", done)
					if d.err != nil {
						t.Fatalf("dial: %v", d.err)
					}
					defer d.conn.Close()
					if d.took > testutil.Timeout(900*time.Millisecond) {
						t.Errorf("connected after %v: not by the held SYN", d.took)
					}
					buf := make([]byte, 64)
					count, err := d.conn.Read(buf)
					if err != nil || string(buf[:count]) != d.conn.LocalAddr().String() {
						t.Errorf("the replica saw client %q (%v), want %s", buf[:count], err, d.conn.LocalAddr())
					}
				})
			}
		}
	}
}

// However many clients and VIPs there are, a device has one neighbour.
func TestRootOneNeighbourPerDevice(t *testing.T) {
	testutil.Privileged(t)
	node, client, n, dp := liveNode(t)
	client.Run(t, "ip", "route", "add", "local", "198.51.100.0/24", "dev", "lo")
	node.Run(t, "ip", "route", "add", "198.51.100.0/24", "via", "192.0.2.2")
	vip := netip.MustParseAddr("10.77.0.9")
	r := newReplica(t, n, dp, 1, vip.String())
	r.echo(t, vip, 80)
	l := bpf.Listener{Addr: vip, Port: 80, Proto: bpf.TCP}
	if err := errors.Join(
		dp.PutListeners(map[bpf.Listener]bpf.ListenerSite{l: {Site: 1}}),
		dp.SetSite(1, bpf.Site{Replicas: []bpf.SiteReplica{{ID: 1, Forced: bpf.AllPorts(1)}}}),
	); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		client.Do(t, func() {
			d := net.Dialer{Timeout: testutil.Timeout(5 * time.Second), LocalAddr: &net.TCPAddr{IP: net.IPv4(198, 51, 100, byte(i+1))}}
			conn, err := d.Dial("tcp", netip.AddrPortFrom(vip, 80).String())
			if err != nil {
				t.Fatalf("client %d: %v", i, err)
			}
			conn.Close()
		})
		if _, err := dial(t, node, "tcp", netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 77, 9, byte(i)}), 80), 5*time.Second); !errors.Is(err, unix.ECONNREFUSED) {
			t.Fatalf("unknown VIP %d: %v", i, err)
		}
	}
	for name, ns := range map[string]place{"the node's fc0": node, "the replica's eth0": r.ns} {
		device := "eth0"
		if ns == node {
			device = n.cfg.Device
		}
		out := strings.TrimSpace(ns.Run(t, "ip", "-4", "neigh", "show", "nud", "all", "dev", device))
		lines := slices.DeleteFunc(strings.Split(out, "\n"), func(l string) bool {
			return strings.HasPrefix(l, "224.") // multicast: IGMP
		})
		if len(lines) != 1 || !strings.HasPrefix(lines[0], gateway4.String()) {
			t.Errorf("neighbours of %s: %q, want only %s", name, lines, gateway4)
		}
	}
}
