package bpf

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/fcnode/fcnode/tests/testutil"
)

// wire is a rig with replica 5 of site 1 in a namespace, and a client's at the
// other end of a cable.
type wire struct {
	*rig
	replica, client *testutil.NS
}

func newWire(t testing.TB) *wire {
	t.Helper()
	testutil.Privileged(t)
	testutil.RequireFeature(t, "netns cookie in sock_ops")
	w := &wire{rig: newSocketRig(t), replica: testutil.NetNS(t), client: testutil.NetNS(t)}
	w.listen(t, 1, vip4, vip6)
	p := netip.MustParsePrefix
	testutil.Cable(t, w.replica, w.client, "fctest",
		[]netip.Prefix{p("10.77.0.2/24"), p("fd77:fc::2/64")}, []netip.Prefix{p("10.77.0.9/24"), p("fd77:fc::9/64")})
	err := w.AddReplica(5, Replica{Site: 1, Ifindex: 1005, NSID: int(nsid(t, w.replica)), Cookie: w.replica.Cookie(t), VIP4: vip4, VIP6: vip6})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// listener listens on port 80 of the replica until the test ends.
func (w *wire) listener(t testing.TB, mptcp bool) (l net.Listener) {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(mptcp)
	w.replica.Do(t, func() {
		var err error
		if l, err = lc.Listen(context.Background(), "tcp", "[::]:80"); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { l.Close() })
	return l
}

// serve accepts there and gives each connection to a goroutine of its own.
func (w *wire) serve(t testing.TB, mptcp bool, serve func(*net.TCPConn)) {
	t.Helper()
	l := w.listener(t, mptcp)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c.(*net.TCPConn))
		}
	}()
}

func (w *wire) dial(t testing.TB, to string) *net.TCPConn {
	t.Helper()
	return connect(t, w.client, to).(*net.TCPConn)
}

func (w *wire) load(t testing.TB) Load {
	t.Helper()
	loads, err := w.Load([]ReplicaID{5})
	if err != nil {
		t.Fatal(err)
	}
	l, ok := loads[5]
	if !ok {
		t.Fatalf("nothing is known of replica 5: %v", loads)
	}
	return l
}

// quiet waits until all connections have ended, and returns the counters.
func (w *wire) quiet(t testing.TB, conns uint64) (l Load) {
	t.Helper()
	testutil.WaitFor(t, 10*time.Second, "the end of all connections", func() error {
		if l = w.load(t); l.ConnsNow != 0 || l.ConnsTotal != conns {
			return fmt.Errorf("%d connections now, %d in all, want 0 and %d", l.ConnsNow, l.ConnsTotal, conns)
		}
		return nil
	})
	return l
}

// peer listens by TCP in the client's namespace, for connections that the replica begins.
func (w *wire) peer(t testing.TB, family string) (addr string) {
	t.Helper()
	addr = map[string]string{"IPv4": "10.77.0.9:7777", "IPv6": "[fd77:fc::9]:7777"}[family]
	w.client.Do(t, func() {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	})
	return addr
}
