package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// refused checks that a connection is refused at once: by the answer to its first SYN. A machine that stands still for a second sends the
// SYN again before it looks at the answer; so that must happen each time to be a mistake.
func (c *client) refused(n *node, to netip.AddrPort) {
	c.t.Helper()
	again := 0
	for range tries {
		before := repeatedSYNs(n)
		conn, err := c.connect(to)
		if err == nil {
			_ = conn.Close()
			c.t.Errorf("%s client: %s was connected, not refused", c.name, to)
			return
		}
		if !errors.Is(err, unix.ECONNREFUSED) {
			c.t.Errorf("%s client: %s was not refused: %v", c.name, to, err)
			return
		}
		if again = repeatedSYNs(n) - before; again == 0 {
			return
		}
	}
	c.t.Errorf("%s client: %s was not refused at once in any of %d tries; in the last after %d SYNs sent again", c.name, to, tries, again)
}

// refusedUDP checks that datagrams are answered with "port unreachable". Kernels send no more than a few of these a
// second to anyone, so it may take more than one.
func (c *client) refusedUDP(to netip.AddrPort) {
	c.t.Helper()
	conn, err := c.dial(c.t.Context(), "udp", to.String())
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	for end := time.Now().Add(testutil.Timeout(patience)); ; {
		_, err = conn.Write([]byte("anybody?"))
		if err == nil {
			_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // of an open socket
			_, err = conn.Read(make([]byte, 100))
		}
		switch {
		case errors.Is(err, unix.ECONNREFUSED):
			return
		case !errors.Is(err, os.ErrDeadlineExceeded), time.Now().After(end):
			c.t.Fatalf("%s client: datagrams to %s: %v, want them refused", c.name, to, err)
		}
	}
}

// ping sends an echo request and waits for its reply.
func (c *client) ping(to netip.Addr) {
	c.t.Helper()
	network, kind, reply := "ip4:icmp", byte(8), byte(0)
	if to.Is6() {
		network, kind, reply = "ip6:ipv6-icmp", 128, 129
	}
	conn, err := c.dial(c.t.Context(), network, to.String())
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(testutil.Timeout(patience))); err != nil {
		c.t.Fatal(err)
	}
	echo := []byte{kind, 0, 0, 0, 0, 0x77, 0, 1}
	if to.Is4() { // over IPv6 the kernel does it
		binary.BigEndian.PutUint16(echo[2:], ^(uint16(kind)<<8 + 0x77 + 1))
	}
	if _, err := conn.Write(echo); err != nil {
		c.t.Fatal(err)
	}
	buf := make([]byte, 1500)
	for {
		got, _, err := conn.(*net.IPConn).ReadFrom(buf) // without the IP header
		if err != nil {
			c.t.Fatalf("%s client: ping %s: %v", c.name, to, err)
		}
		if got > 0 && buf[0] == reply {
			return
		}
	}
}

func TestRootWhatIsNotThereIsRefusedAtOnce(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	onEachWay(t, "", func(t *testing.T, n *node) {
		s := n.deploy("lonely", "ports: [80/tcp, 53/udp]", "env: {GUEST: serve, LISTEN: tcp/:80 udp/:53}")
		mark := n.mark()
		nobody4, nobody6 := netip.MustParseAddr("10.77.200.200"), netip.MustParseAddr("fd77:fc::dead")
		check := func() {
			for _, c := range []*client{n.outside, n.local} {
				for _, a := range []netip.Addr{nobody4, nobody6, s.v4, s.v6} {
					c.refused(n, netip.AddrPortFrom(a, 81))
					c.refusedUDP(netip.AddrPortFrom(a, 54))
					c.refusedUDP(netip.AddrPortFrom(a, 80)) // open for TCP
					c.refused(n, netip.AddrPortFrom(a, 53)) // open for UDP
					c.ping(a)
				}
			}
		}
		check()
		if got := s.story(mark); len(got) > 0 {
			t.Errorf("the site was woken by what was not for it: %q", got)
		}
		s.wake()
		check() // no less so while the site runs
	})
}

// TestRootConnectionOfAnEndedReplicaIsReset: packets of old connections do not wake a site, and do not vanish.
func TestRootConnectionOfAnEndedReplicaIsReset(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	onEachWay(t, "", func(t *testing.T, n *node) {
		s := n.deploy("ended", "stop: {grace: 100ms}")
		for _, c := range []*client{n.outside, n.local} {
			for _, to := range []netip.AddrPort{s.addr4(80), s.addr6(80)} {
				conn, err := c.connect(to)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				s.park()
				mark := n.mark()
				// Its kernel has closed the connection for the replica; who goes on sending must learn it.
				testutil.WaitFor(t, patience, "the reset", func() error {
					_, err := conn.Write([]byte("GET / HTTP/1.0\r\n\r\n"))
					if errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) {
						return nil
					}
					return fmt.Errorf("%s client: writing to %s after its replica has ended: %w", c.name, to, err)
				})
				if got := s.story(mark); len(got) > 0 || s.get().Phase != api.PhaseParked {
					t.Errorf("%s client: an old connection to %s did something to its parked site: %q", c.name, to, got)
				}
			}
		}
	})
}
