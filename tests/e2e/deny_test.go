package e2e

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/fcnode/fcnode/tests/testutil"
)

// packets reads a counter of the data path.
func (n *node) packets(end string) int {
	n.t.Helper()
	var text bytes.Buffer
	if err := n.api.Metrics(n.ctx(), &text); err != nil {
		n.t.Fatal(err)
	}
	found := regexp.MustCompile(`fcnode_packets_total\{end="` + end + `"\} (\S+)`).FindStringSubmatch(text.String())
	if found == nil {
		n.t.Fatalf("no counter %s in\n%s", end, text.String())
	}
	count, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		n.t.Fatal(err)
	}
	return int(count)
}

// unanswered expects that no connection comes about.
func (c *client) unanswered(what string, to netip.AddrPort) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	conn, err := c.dial(ctx, "tcp", to.String())
	if err == nil {
		conn.Close()
		c.t.Errorf("%s: %s answers", what, to)
	} else if timeout := net.Error(nil); !errors.As(err, &timeout) || !timeout.Timeout() {
		c.t.Errorf("%s: %s: %v, want silence", what, to, err)
	}
}

// listen makes something of the node's own that takes connections.
func (n *node) listen(at string) {
	n.t.Helper()
	n.ns.Do(n.t, func() {
		l, err := net.Listen("tcp", at)
		if err != nil {
			n.t.Fatal(err)
		}
		n.t.Cleanup(func() { l.Close() })
	})
}

// TestRootDenied: a denied visitor reaches nothing, by an open connection neither, with a daemon and without.
func TestRootDenied(t *testing.T) {
	testutil.Privileged(t)
	onEachWay(t, "", func(t *testing.T, n *node) {
		s, asleep := n.deploy("awake"), n.deploy("asleep")
		n.outside.greet(s.addr4(80))
		open := n.outside.keep(s.addr4(80))
		mark := n.mark()
		n.cli("deny", "add", "198.51.100.2/31", "2001:db8:77::2", "--for", "1h")
		silent := func(when string) {
			t.Helper()
			var all sync.WaitGroup
			defer all.Wait()
			for what, to := range map[string]netip.AddrPort{
				"awake": s.addr4(80), "asleep": asleep.addr4(80), "awake, IPv6": s.addr6(80), "asleep, IPv6": asleep.addr6(80),
			} {
				all.Go(func() { n.outside.unanswered(when+", "+what, to) })
			}
		}
		silent("denied")
		if err := open.conn.SetDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		_, err := io.WriteString(open.conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if got, _ := open.conn.Read(make([]byte, 1)); got > 0 {
			t.Errorf("an open connection is answered (%v)", err)
		}
		if n.packets("denied") == 0 {
			t.Error("no packet is counted as denied")
		}
		n.kill()
		silent("without a daemon")
		n.start()
		silent("the next daemon")
		if got := asleep.starts(mark); got != 0 {
			t.Errorf("a denied visitor has woken a site: %q", asleep.story(mark))
		}
		n.local.greet(s.addr4(80)) // others are served
		n.cli("deny", "remove", "198.51.100.2/31", "2001:db8:77::2")
		n.outside.greet(asleep.addr4(80))
		n.outside.greet(asleep.addr6(80))
	})
}

// TestRootDeniedAtUplinks: there the node's own services are out of reach, too.
func TestRootDeniedAtUplinks(t *testing.T) {
	testutil.Privileged(t)
	n := newNode(t, options{})
	n.listen("198.51.100.1:8080")
	own := netip.MustParseAddrPort("198.51.100.1:8080")
	conn, err := n.outside.connect(own)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	n.cli("deny", "add", "198.51.100.2")
	n.outside.unanswered("the node itself", own)
}
