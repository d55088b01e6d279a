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
	"github.com/fcnode/fcnode/runtime/thread"
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
	if err := thread.InNetns(i.ns, func() error { f(); return nil }); err != nil {
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

func openDatapathAt(t testing.TB, dir string) *bpf.Datapath {
	t.Helper()
	return openDatapathWith(t, bpf.Options{PinDir: dir})
}

// openDatapathWith loads the programs, pinned in a folder of the test's own.
func openDatapathWith(t testing.TB, o bpf.Options) *bpf.Datapath {
	t.Helper()
	dp, err := bpf.Open(o)
	if err != nil {
		t.Fatalf("opening the data path: %+v", err)
	}
	t.Cleanup(func() {
		if err := errors.Join(dp.Close(), bpf.Remove(o.PinDir)); err != nil {
			t.Errorf("removing the data path: %v", err)
		}
	})
	return dp
}

// liveNode is a node with programs and an outside client.
func liveNode(t testing.TB) (node, client *testutil.NS, n *Net, dp *bpf.Datapath) {
	t.Helper()
	return liveNodeWith(t, bpf.ProofAuto)
}

func liveNodeWith(t testing.TB, proof bpf.Proof) (node, client *testutil.NS, n *Net, dp *bpf.Datapath) {
	t.Helper()
	node, client = uplinked(t)
	for _, p := range testPrefixes {
		family, gw := "-4", "192.0.2.1"
		if p.Addr().Is6() {
			family, gw = "-6", "2001:db8::1"
		}
		client.Run(t, "ip", family, "route", "add", p.String(), "via", gw)
	}
	dp = openDatapathWith(t, bpf.Options{PinDir: filepath.Join("/sys/fs/bpf", testutil.Unique(t)), Proof: proof})
	cfg := testConfig(t)
	cfg.Uplinks = []string{"up0"}
	n = setup(t, node, cfg, dp)
	t.Cleanup(func() { remove(t, n) })
	return node, client, n, dp
}

// dial connects from inside of a namespace. from, if valid, is the source
// address.
func dial(t testing.TB, ns place, network string, to netip.AddrPort, d time.Duration) (net.Conn, error) {
	t.Helper()
	return dialAddress(t, ns, network, to.String(), d)
}

func dialAddress(t testing.TB, ns place, network, to string, d time.Duration) (conn net.Conn, err error) {
	t.Helper()
	ns.Do(t, func() {
		ctx, cancel := context.WithTimeout(t.Context(), testutil.Timeout(d))
		defer cancel()
		// The dialer makes its socket on this thread: an address needs no
		// goroutines.
		conn, err = (&net.Dialer{}).DialContext(ctx, network, to)
	})
	return conn, err
}

var strangers = []netip.Addr{netip.MustParseAddr("10.77.200.7"), netip.MustParseAddr("fd77:fc::c8:7")}

func TestRootSinkAnswers(t *testing.T) {
	testutil.Privileged(t)
	node, client, n, dp := liveNode(t)
	replica := newReplica(t, n, dp, 1, "10.77.0.9", "fd77:fc::9")
	for _, vip := range strangers { // what a site may not reach comes to no answer
		if err := dp.SetRule(bpf.Rule{Prefix: netip.PrefixFrom(vip, vip.BitLen())}, true); err != nil {
			t.Fatal(err)
		}
	}
	for _, from := range []struct {
		name string
		ns   place
	}{{"from outside", client}, {"from the node", node}, {"from a replica", replica.ns}} {
		for _, vip := range strangers {
			t.Run(from.name+" to "+vip.String(), func(t *testing.T) {
				wantRefusedAtOnce(t, from.ns, netip.AddrPortFrom(vip, 80))
				wantUnreachable(t, from.ns, netip.AddrPortFrom(vip, 53))
				if from.ns == place(replica.ns) {
					return // echo replies find no way back into a replica
				}
				ping(t, from.ns, vip)
			})
		}
	}
}

// tries is how often something is tried that a machine which stands still for a
// second spoils: its clients then send their SYNs again before they look at the
// answers.
const tries = 5

// wantRefusedAtOnce expects the first SYN of a connection to be answered by a
// refusal.
func wantRefusedAtOnce(t testing.TB, ns place, to netip.AddrPort) {
	t.Helper()
	for range tries {
		before := repeatedSYNs(t, ns)
		if conn, err := dial(t, ns, "tcp", to, limit); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("TCP: got %v, %v; want a refusal", conn, err)
			return
		}
		if repeatedSYNs(t, ns) == before {
			return
		}
	}
	t.Errorf("TCP: in each of %d tries the SYN was sent again before it was refused", tries)
}

func repeatedSYNs(t testing.TB, ns place) (count int) {
	t.Helper()
	ns.Do(t, func() { count = testutil.RepeatedSYNs(t) })
	return count
}

// wantUnreachable sends a datagram and expects to be told that nobody is there.
func wantUnreachable(t testing.TB, ns place, to netip.AddrPort) {
	t.Helper()
	conn, err := dial(t, ns, "udp", to, limit)
	if err != nil {
		t.Fatalf("UDP: %v", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(testutil.Timeout(limit))); err != nil {
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
	conn, err := dialAddress(t, ns, network, to.String(), limit)
	if err != nil {
		t.Errorf("ping: %v", err)
		return
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(testutil.Timeout(limit))); err != nil {
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
		if _, err := dial(t, node, "tcp", netip.AddrPortFrom(vip, 80), limit); !errors.Is(err, unix.EHOSTUNREACH) && !errors.Is(err, unix.ENETUNREACH) {
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
	space, err := n.Pool().Get(testutil.Context(t, limit))
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
	visit := newHolding(t, n, dp)
	id := bpf.ReplicaID(0)
	for _, from := range []struct {
		name string
		ns   place
	}{{"outside", client}, {"the node", node}} {
		for _, base := range []string{"10.77.1.%d", "fd77:fc::1:%d"} {
			for end, run := range map[string]func(*testing.T, place, bpf.ReplicaID, netip.Addr){"released": visit.released, "refused": visit.refused} {
				t.Run(fmt.Sprintf("%s from %s to %s", end, from.name, base), func(t *testing.T) {
					for range tries {
						id++
						before := repeatedSYNs(t, from.ns)
						run(t, from.ns, id, netip.MustParseAddr(fmt.Sprintf(base, id)))
						if repeatedSYNs(t, from.ns) == before {
							return
						}
					}
					t.Errorf("in each of %d tries the SYN was sent again", tries)
				})
			}
		}
	}
}

// holding is a node whose held packets are the test's to release or refuse.
type holding struct {
	n       *Net
	dp      *bpf.Datapath
	holder  *Holder
	packets <-chan bpf.HeldPacket
}

func newHolding(t testing.TB, n *Net, dp *bpf.Datapath) holding {
	t.Helper()
	held, err := dp.Held()
	if err != nil {
		t.Fatal(err)
	}
	packets := make(chan bpf.HeldPacket, 100) // clients of a slow machine send theirs again
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
	t.Cleanup(func() { release.Close() })
	refuse, err := n.Refuse()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { refuse.Close() })
	h := NewHolder(HoldConfig{PerSite: 8, Total: 8, Deadline: time.Minute}, release, refuse, Monotonic{}, nil)
	return holding{n: n, dp: dp, holder: h, packets: packets}
}

type dialed struct {
	conn net.Conn
	err  error
}

// visit has a client connect to a parked site, whose number is that of its
// replica, and returns when its SYN is held.
func (h holding) visit(t *testing.T, from place, id bpf.ReplicaID, vip netip.Addr) <-chan dialed {
	t.Helper()
	site := bpf.SiteID(id)
	l := bpf.Listener{Addr: vip, Port: 80, Proto: bpf.TCP}
	if err := h.dp.PutListeners(map[bpf.Listener]bpf.ListenerSite{l: {Site: site}}); err != nil {
		t.Fatal(err)
	}
	done := make(chan dialed, 1)
	go func() {
		conn, err := dial(t, from, "tcp", netip.AddrPortFrom(vip, 80), limit)
		done <- dialed{conn, err}
	}()
	p := testutil.Receive(t, limit, "the held SYN", h.packets)
	for p.Site != site { // one that its client has sent again
		p = testutil.Receive(t, limit, "the held SYN", h.packets)
	}
	if first, err := h.holder.Add(p, 0); err != nil || !first {
		t.Fatalf("Add: first %v, error %v; want true, none", first, err)
	}
	return done
}

func (h holding) refused(t *testing.T, from place, id bpf.ReplicaID, vip netip.Addr) {
	t.Helper()
	done := h.visit(t, from, id, vip)
	if count, err := h.holder.Refuse(bpf.SiteID(id)); count != 1 || err != nil {
		t.Errorf("Refuse: %d, %v; want 1", count, err)
	}
	if d := testutil.Receive(t, limit, "the refusal", done); !errors.Is(d.err, unix.ECONNREFUSED) {
		t.Errorf("dial: %v, want a refusal", d.err)
	}
}

func (h holding) released(t *testing.T, from place, id bpf.ReplicaID, vip netip.Addr) {
	t.Helper()
	done := h.visit(t, from, id, vip)
	r := newReplica(t, h.n, h.dp, id, vip.String())
	r.echo(t, vip, 80)
	site := bpf.SiteID(id)
	if err := h.dp.SetSite(site, bpf.Site{Replicas: []bpf.SiteReplica{{ID: id, Forced: bpf.AllPorts(1)}}}); err != nil {
		t.Fatal(err)
	}
	if count, _, err := h.holder.Release(site); count != 1 || err != nil {
		t.Errorf("Release: %d, %v; want 1", count, err)
	}
	d := testutil.Receive(t, limit, "the connection", done)
	if d.err != nil {
		t.Fatalf("dial: %v", d.err)
	}
	defer d.conn.Close()
	buf := make([]byte, 64)
	count, err := d.conn.Read(buf)
	if err != nil || string(buf[:count]) != d.conn.LocalAddr().String() {
		t.Errorf("the replica saw client %q (%v), want %s", buf[:count], err, d.conn.LocalAddr())
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
			d := net.Dialer{Timeout: testutil.Timeout(limit), LocalAddr: &net.TCPAddr{IP: net.IPv4(198, 51, 100, byte(i+1))}}
			conn, err := d.Dial("tcp", netip.AddrPortFrom(vip, 80).String())
			if err != nil {
				t.Fatalf("client %d: %v", i, err)
			}
			conn.Close()
		})
		if _, err := dial(t, node, "tcp", netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 77, 9, byte(i)}), 80), limit); !errors.Is(err, unix.ECONNREFUSED) {
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
