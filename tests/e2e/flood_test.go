package e2e

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/tests/testutil"
)

// floodGuest has what a site does to others in these tests, and what it must be able to go on with:
//
//	GET /own?to=ADDR     says a line to ADDR by a connection that it keeps, and answers with what it gets
//	GET /spray?to=IP&n=N sends a datagram to each of N ports there
//	GET /flap?on=ADDR&for=D  listens and stops listening for so long
func floodGuest(mux *http.ServeMux) {
	var mu sync.Mutex
	own := map[string]*bufio.ReadWriter{}
	mux.HandleFunc("GET /own", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		to := r.FormValue("to")
		if own[to] == nil {
			c, err := net.Dial("tcp", to)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
			own[to] = bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c))
		}
		_, err := own[to].WriteString("hello\n")
		if err == nil {
			err = own[to].Flush()
		}
		var line string
		if err == nil {
			line, err = own[to].ReadString('\n')
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		_, _ = io.WriteString(w, line) // the test sees what is missing
	})
	mux.HandleFunc("GET /spray", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.FormValue("n"))
		var c net.PacketConn
		if err == nil {
			c, err = net.ListenPacket("udp4", ":0")
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer c.Close()
		for i := range n {
			_, _ = c.WriteTo([]byte("x"), &net.UDPAddr{IP: net.ParseIP(r.FormValue("to")), Port: 1024 + i}) // full queues
		}
	})
	mux.HandleFunc("GET /flap", func(w http.ResponseWriter, r *http.Request) {
		d, err := time.ParseDuration(r.FormValue("for"))
		n := 0
		for end := time.Now().Add(d); err == nil && time.Now().Before(end); n++ {
			var l net.Listener
			if l, err = net.Listen("tcp", r.FormValue("on")); err == nil {
				l.Close()
			}
		}
		fmt.Fprintf(w, "%d times: %v\n", n, err)
	})
}

// rawIPv4 is a packet with a header that is not the kernel's.
func rawIPv4(src, dst netip.AddrPort, proto byte, id, frag uint16, l4 []byte) []byte {
	b := make([]byte, 20, 20+len(l4))
	b[0], b[8], b[9] = 0x45, 64, proto
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(l4)))
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], frag)
	copy(b[12:], src.Addr().AsSlice())
	copy(b[16:], dst.Addr().AsSlice())
	binary.BigEndian.PutUint16(l4, src.Port())
	binary.BigEndian.PutUint16(l4[2:], dst.Port())
	return append(b, l4...)
}

// flood sends packets with forged sources.
func (c *client) flood(n int, packet func(i int, src netip.AddrPort) []byte) {
	c.t.Helper()
	var fd int
	c.ns.Do(c.t, func() {
		var err error
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err != nil {
			c.t.Fatal(err)
		}
	})
	defer unix.Close(fd)
	for i := range n {
		src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), uint16(1024+i))
		b := packet(i, src)
		if err := unix.Sendto(fd, b, 0, &unix.SockaddrInet4{Addr: [4]byte(b[16:20])}); err != nil {
			c.t.Fatal(err)
		}
	}
}

// echoLines answers each line that comes on a connection, in the client's namespace.
func (c *client) echoLines() string {
	c.t.Helper()
	var l net.Listener
	c.ns.Do(c.t, func() {
		var err error
		if l, err = net.Listen("tcp4", ":7777"); err != nil {
			c.t.Fatal(err)
		}
	})
	c.t.(*testing.T).Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn) // until either end is gone
			}()
		}
	}()
	return "198.51.100.2:7777"
}

// TestRootFloodsHurtNobodyElse: whatever one site, or one sender at one site, fills of the kernel's tables, another site keeps what it
// has: a connection that it has opened itself and left idle, a visitor's download, and its wakes.
func TestRootFloodsHurtNobodyElse(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	const entries, packets, piece = 1024, 3000, 1 << 20
	n := newNode(t, options{more: fmt.Sprintf("egress: routed\nflows: {max: %d, perSite: 64}\n", entries)})
	victim := n.deploy("victim", "network: {allow: [198.51.100.0/24]}")
	sleeper := n.deploy("sleeper")
	attacked := n.deploy("attacked", "network: {allow: [198.51.100.0/24]}", "ports: [80/tcp, 82/tcp, 53/udp]", "env: {GUEST: serve, LISTEN: 'tcp/:80 udp/:53'}")
	attacked.wake()
	n.outside.greet(attacked.addr4(80))
	peer := n.outside.echoLines()
	own := func(what string) {
		t.Helper()
		if a, err := n.outside.get(victim.addr4(80), "/own?to="+peer); err != nil || a.body != "hello\n" {
			t.Errorf("%s: the site's own connection answers %q (%v)", what, a.body, err)
		}
	}
	own("before")
	download, err := n.outside.connect(victim.addr4(80))
	if err != nil {
		t.Fatal(err)
	}
	defer download.Close()
	fmt.Fprintf(download, "GET /bytes?n=%d HTTP/1.0\r\n\r\n", 100*piece)
	more := func(what string) {
		t.Helper()
		_ = download.SetReadDeadline(time.Now().Add(testutil.Timeout(patience)))
		if got, err := io.CopyN(io.Discard, download, piece); err != nil {
			t.Errorf("%s: the download breaks off after %d bytes: %v", what, got, err)
		}
	}
	more("before")
	fine := func(what string) {
		t.Helper()
		sleeper.park()
		n.outside.greet(sleeper.addr4(80))
		own(what)
		more(what)
	}

	udp := make([]byte, 8+64)
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	for _, a := range []struct {
		what   string
		packet func(i int, src netip.AddrPort) []byte
	}{
		{"forged handshakes", func(_ int, src netip.AddrPort) []byte {
			tcp := make([]byte, 20)
			tcp[12], tcp[13], tcp[14] = 5<<4, 2, 0xff
			return rawIPv4(src, attacked.addr4(80), 6, 0, 0, tcp)
		}},
		{"forged datagrams", func(_ int, src netip.AddrPort) []byte { return rawIPv4(src, attacked.addr4(53), 17, 0, 0, udp) }},
		{"forged fragments", func(i int, src netip.AddrPort) []byte {
			return rawIPv4(src, attacked.addr4(53), 17, uint16(i), 0x2000, udp)
		}},
	} {
		n.outside.flood(packets, a.packet)
		fine(a.what)
	}
	n.outside.mustGet(attacked.addr4(80), fmt.Sprintf("/spray?to=198.51.100.2&n=%d", packets))
	fine("datagrams of a site")

	flapping := later(func() error {
		a, err := n.outside.get(attacked.addr4(80), "/flap?on=:82&for=1s")
		t.Logf("listened %s", a.body)
		return err
	})
	for range few(3) {
		fine("ports that flap")
	}
	if err := <-flapping; err != nil {
		t.Error(err)
	}
}
