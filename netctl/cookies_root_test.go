package netctl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/tests/testutil"
)

// greeting is what a server says before its client has said anything.
const greeting = "220 ready\r\n"

// conversation serves one: the greeting, and after all that the client sends how much that was, and as much back.
func conversation(c *net.TCPConn) error {
	defer c.Close()
	if _, err := io.WriteString(c, greeting); err != nil {
		return err
	}
	all, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	_, err = c.Write(all)
	return err
}

// TestRootProof: with proof of address a SYN is answered before anybody is awake, nothing is held for it, and the end of the handshake, with all
// that the client sends in its first window, is. Released it is a connection like any other: of either family, of clients that wait for a greeting, that send much at once
// and that take small segments only, past the stack and through it.
func TestRootProof(t *testing.T) {
	testutil.Privileged(t)
	for _, byStack := range []bool{false, true} {
		_, client, n, dp := liveNodeWith(t, bpf.ProofAlways)
		if err := dp.SetByStack(byStack); err != nil {
			t.Fatal(err)
		}
		h := newHolding(t, n, dp)
		id := bpf.ReplicaID(0)
		for _, base := range []string{"10.77.1.%d", "fd77:fc::1:%d"} {
			for _, c := range []struct {
				name string
				says int // before anybody answers
				mss  int
			}{{"server first", 0, 0}, {"request", 100, 0}, {"more than a window", 100_000, 0}, {"small segments", 2000, 536}} {
				id++
				vip := netip.MustParseAddr(fmt.Sprintf(base, id))
				t.Run(fmt.Sprintf("%s to %s by stack %v", c.name, vip, byStack), func(t *testing.T) { h.proves(t, client, id, vip, c.says, c.mss) })
			}
		}
	}
}

func (h holding) proves(t *testing.T, from place, id bpf.ReplicaID, vip netip.Addr, says, mss int) {
	site := bpf.SiteID(id)
	at := netip.AddrPortFrom(vip, 80)
	if err := h.dp.PutListeners(map[bpf.Listener]bpf.ListenerSite{{Addr: vip, Port: 80, Proto: bpf.TCP}: {Site: site}}); err != nil {
		t.Fatal(err)
	}
	c := h.connect(t, from, at, mss)
	defer c.Close()
	said := bytes.Repeat([]byte("fcnode "), says/7+1)[:says]
	wrote := make(chan error, 1)
	go func() {
		_, err := c.Write(said)
		wrote <- err
	}()
	want := 1
	if says > 0 {
		want = 2 // the end of the handshake, and the first data
	}
	for got := range want {
		p := testutil.Receive(t, limit, "a held packet", h.packets)
		for p.Site < site { // what a client of before has sent
			p = testutil.Receive(t, limit, "a held packet", h.packets)
		}
		if p.Site != site || !p.Proven {
			t.Fatalf("held is a packet of site %d, proven %v; want the proof of a client of site %d", p.Site, p.Proven, site)
		}
		if first, err := h.holder.Add(p, 0); err != nil || first != (got == 0) {
			t.Fatalf("Add: first %v, error %v", first, err)
		}
	}
	r := newReplica(t, h.n, h.dp, id, vip.String())
	l := r.listen(t, at)
	served := make(chan error, 1)
	largest := 0
	go func() {
		in, err := l.Accept()
		if err == nil {
			largest = largestSegment(t, in.(*net.TCPConn))
			err = conversation(in.(*net.TCPConn))
		}
		served <- err
	}()
	if err := h.dp.SetSite(site, bpf.Site{Replicas: []bpf.SiteReplica{{ID: id, Forced: bpf.AllPorts(1)}}}); err != nil {
		t.Fatal(err)
	}
	if err := r.ExpectCookies(at); err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.holder.Release(site); err != nil {
		t.Fatal(err)
	}
	heard := make([]byte, len(greeting))
	if _, err := io.ReadFull(c, heard); err != nil || string(heard) != greeting {
		t.Fatalf("the client is greeted with %q (%v)", heard, err)
	}
	if err := testutil.Receive(t, limit, "the end of what the client says", wrote); err != nil {
		t.Fatal(err)
	}
	more := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	if _, err := c.Write(more); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(c); err != nil || !bytes.Equal(all, append(said, more...)) {
		t.Errorf("of %d bytes came %d back, or other ones: %v", len(said)+len(more), len(all), err)
	}
	if err := testutil.Receive(t, limit, "the end of the server", served); err != nil {
		t.Error(err)
	}
	if vip.Is4() && mss > 0 && largest > mss { // of IPv6 all take 1220 bytes
		t.Errorf("the replica sends segments of %d bytes, the client takes %d", largest, mss)
	}
	if out := r.ns.Run(t, "cat", "/proc/sys/net/ipv4/tcp_syncookies"); strings.TrimSpace(out) != cookiesWhenNeeded {
		t.Errorf("tcp_syncookies is left at %s", out)
	}
}

// connect ends a handshake with nobody awake behind it.
func (h holding) connect(t *testing.T, from place, to netip.AddrPort, mss int) *net.TCPConn {
	t.Helper()
	var c net.Conn
	var err error
	from.Do(t, func() {
		ctx, cancel := context.WithTimeout(t.Context(), testutil.Timeout(limit))
		defer cancel()
		d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
			ctlErr := raw.Control(func(fd uintptr) {
				if mss > 0 {
					err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, mss)
				}
			})
			return errors.Join(err, ctlErr)
		}}
		c, err = d.DialContext(ctx, "tcp", to.String())
	})
	if err != nil {
		counts, _ := h.dp.Counters()
		t.Fatal(err, counts)
	}
	_ = c.SetDeadline(time.Now().Add(testutil.Timeout(limit)))
	return c.(*net.TCPConn)
}

// largestSegment is the largest that a connection sends.
func largestSegment(t *testing.T, c *net.TCPConn) (n int) {
	raw, err := c.SyscallConn()
	if err == nil {
		err = errors.Join(raw.Control(func(fd uintptr) { n, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG) }), err)
	}
	if err != nil {
		t.Error(err)
	}
	return n
}

// TestRootProofRefused: whose site does not wake learns that by a reset, though he was connected; and what is no proof is refused all the while.
func TestRootProofRefused(t *testing.T) {
	testutil.Privileged(t)
	_, client, n, dp := liveNodeWith(t, bpf.ProofAlways)
	h := newHolding(t, n, dp)
	for i, addr := range []string{"10.77.1.1", "fd77:fc::1:1"} {
		vip := netip.MustParseAddr(addr)
		site := bpf.SiteID(i + 1)
		if err := dp.PutListeners(map[bpf.Listener]bpf.ListenerSite{{Addr: vip, Port: 80, Proto: bpf.TCP}: {Site: site}}); err != nil {
			t.Fatal(err)
		}
		c := h.connect(t, client, netip.AddrPortFrom(vip, 80), 0)
		defer c.Close()
		if _, err := h.holder.Add(testutil.Receive(t, limit, "the proof", h.packets), 0); err != nil {
			t.Fatal(err)
		}
		if count, err := h.holder.Refuse(site); count != 1 || err != nil {
			t.Errorf("Refuse: %d, %v; want 1", count, err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("%s: read: %v, want a reset", vip, err)
		}
	}
}

// TestRootExpectCookies: a listener is told once, whatever sockets share its port, and no connection comes of it; nobody who listens is an error.
func TestRootExpectCookies(t *testing.T) {
	testutil.Privileged(t)
	_, _, n, dp := liveNodeWith(t, bpf.ProofOff)
	for id, addr := range map[bpf.ReplicaID]string{1: "10.77.1.1", 2: "fd77:fc::1:2"} {
		r := newReplica(t, n, dp, id, addr)
		at := netip.AddrPortFrom(netip.MustParseAddr(addr), 80)
		if err := r.ExpectCookies(at); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s: without a listener: %v", addr, err)
		}
		l := r.listen(t, at)
		for range 3 {
			if err := r.ExpectCookies(at); err != nil {
				t.Error(err)
			}
		}
		_ = l.SetDeadline(time.Now())
		if c, err := l.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: a connection came of it: %v, %v", addr, c, err)
		}
	}
}

func (r *replica) listen(t *testing.T, at netip.AddrPort) (l *net.TCPListener) {
	t.Helper()
	var err error
	r.ns.Do(t, func() { l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at)) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}
