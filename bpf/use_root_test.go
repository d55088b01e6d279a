package bpf

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/tests/testutil"
)

// wantUse waits until so many of a number of connections count as use.
func (r *rig) wantUse(t testing.TB, now, used uint64) (st ReplicaStats) {
	t.Helper()
	testutil.WaitFor(t, 5*time.Second, "what counts as use", func() (err error) {
		if st, err = r.Stats(5); err != nil {
			return err
		}
		if st.ConnsNow != now || st.ConnsUsed != used {
			return fmt.Errorf("%d connections now, %d used, want %d and %d", st.ConnsNow, st.ConnsUsed, now, used)
		}
		return nil
	})
	return st
}

// TestRootUse: what a stranger has for nothing, SYNs and handshakes, is no use of a site. Data is, whichever side speaks first.
func TestRootUse(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "netns cookie in sock_ops")
	for _, addr := range []string{"10.77.0.2:80", "[fd77:fc::2]:80"} {
		t.Run(addr, func(t *testing.T) {
			r, ns := socketRig(t, true)
			l := socketSpec{at: netip.MustParseAddrPort("[::]:80")}.open(t, ns)
			wantReady(t, r, 1, 1)
			silent := connect(t, ns, addr)
			if st := r.wantUse(t, 1, 0); st.Used != 0 || st.Last == 0 {
				t.Errorf("a connection without data: %+v", st)
			}
			abort(t, silent)
			if st := r.wantUse(t, 0, 0); st.Used != 0 {
				t.Errorf("a connection without data has ended: %+v", st)
			}
			unix.Close(accept(t, l))

			asks := connect(t, ns, addr)
			in := accept(t, l)
			if _, err := io.WriteString(asks, "GET"); err != nil {
				t.Fatal(err)
			}
			first := r.wantUse(t, 1, 1).Used
			if now := Now(); first == 0 || first > now {
				t.Errorf("used at %d, it is %d", first, now)
			}
			if _, err := unix.Write(in, []byte("answer")); err != nil {
				t.Fatal(err)
			}
			abort(t, asks)
			if st := r.wantUse(t, 0, 0); st.Used <= first {
				t.Errorf("the end of a used connection is not its last use: %+v", st)
			}
			unix.Close(in)

			greeted := connect(t, ns, addr)
			in = accept(t, l)
			if _, err := unix.Write(in, []byte("220 hello")); err != nil {
				t.Fatal(err)
			}
			r.wantUse(t, 1, 1)
			abort(t, greeted)
			r.wantUse(t, 0, 0)
			unix.Close(in)
		})
	}
}

func accept(t testing.TB, l int) int {
	t.Helper()
	fd, _, err := unix.Accept(l)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// TestRootUseOfSYNs: a SYN that goes to a running replica is an arrival, and no use.
func TestRootUseOfSYNs(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4)
	r.replica(t, 5, 1, 1, 0)
	r.site(t, 1, Site{Replicas: replicas(5)})
	r.device(t, "SYN", tcpPacket(client4, "10.77.0.2:80", syn), actRedirect, counted{"steered": 1})
	if st, err := r.Stats(5); err != nil || st.Last == 0 || st.Used != 0 {
		t.Errorf("after a SYN: %+v (%v)", st, err)
	}
}

// TestRootKeepalive: a client that has gone without a word does not stay a connection for ever, whatever the application does about it, unless
// it asks sooner by itself.
func TestRootKeepalive(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "netns cookie in sock_ops")
	r, ns := socketRig(t, true)
	l := socketSpec{at: netip.MustParseAddrPort("[::]:80")}.open(t, ns)
	wantReady(t, r, 1, 1)
	set := func(seconds uint32) {
		r.change(t, 5, func(v *dpFcReplica) { v.Keepalive = seconds })
	}
	options := func(fd int) (got [4]int) {
		for i, at := range [4][2]int{
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
			{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL}, {unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
		} {
			v, err := unix.GetsockoptInt(fd, at[0], at[1])
			if err != nil {
				t.Fatal(err)
			}
			got[i] = v
		}
		return got
	}
	for _, c := range []struct {
		what string
		node uint32 // seconds
		own  int    // idle seconds that the application asks for at its listener; 0: nothing
		want [4]int
	}{
		{"off", 0, 0, [4]int{0, 7200, 75, 9}},
		{"set", 120, 0, [4]int{1, 60, 12, 5}},
		{"the application asks later", 120, 7200, [4]int{1, 60, 12, 5}},
		{"the application asks sooner", 120, 30, [4]int{1, 30, 75, 9}},
	} {
		for _, addr := range []string{"10.77.0.2:80", "[fd77:fc::2]:80"} {
			set(c.node)
			on := 0
			if c.own > 0 {
				on = 1
				if err := unix.SetsockoptInt(l, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, c.own); err != nil {
					t.Fatal(err)
				}
			}
			if err := unix.SetsockoptInt(l, unix.SOL_SOCKET, unix.SO_KEEPALIVE, on); err != nil {
				t.Fatal(err)
			}
			conn := connect(t, ns, addr)
			in := accept(t, l)
			if got := options(in); got != c.want {
				t.Errorf("%s, %s: on, idle, interval, probes are %v, want %v", c.what, addr, got, c.want)
			}
			abort(t, conn)
			closeFD(t, in)
		}
	}
	set(2)
	if n := r.counters(t)["keepalive"]; n != 0 {
		t.Errorf("%d sockets refused the options", n)
	}
	gone := connect(t, ns, "10.77.0.2:80")
	in := accept(t, l)
	if _, err := io.WriteString(gone, "GET"); err != nil {
		t.Fatal(err)
	}
	r.wantUse(t, 1, 1)
	vanish(t, gone)
	r.wantUse(t, 0, 0)
	closeFD(t, in)
}

// vanish closes a connection without a word to the other end.
func vanish(t testing.TB, c net.Conn) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_REPAIR, 1) }); err != nil || failed != nil {
		t.Fatalf("%v, %v", err, failed)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}
