package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/tests/testutil"
)

// monitor asks once, as an uptime monitor does. tier is what the node says in its own answer, empty in one of the site's.
func (c *client) monitor(to netip.AddrPort) (tier string, err error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), testutil.Timeout(5*time.Second))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+to.String()+"/", nil)
	if err != nil {
		return "", err
	}
	resp, err := c.http(false).Do(req)
	if err != nil {
		return "", err
	}
	_, err = read(resp, nil)
	return resp.Header.Get("Fcnode-Tier"), err
}

// answered expects an answer of the node's own.
func (c *client) answered(what, tier string, to ...netip.AddrPort) {
	c.t.Helper()
	for _, to := range to {
		if got, err := c.monitor(to); got != tier || err != nil {
			c.t.Errorf("%s, at %s: from tier %q (%v), want the node's answer from %q", what, to, got, err, tier)
		}
	}
}

// sinkRefuses expects a reset at once.
func (c *client) sinkRefuses(what string, to ...netip.AddrPort) {
	c.t.Helper()
	for _, to := range to {
		if conn, err := c.connect(to); !errors.Is(err, unix.ECONNREFUSED) {
			c.t.Errorf("%s, at %s: %v, %v, want a refusal", what, to, conn, err)
		}
	}
}

// TestRootIgnored: a monitor is answered by the node while the site sleeps, and wakes nothing; by the site while that is awake,
// and keeps it from nothing.
func TestRootIgnored(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{more: `ignore: {sources: [198.51.100.2, "2001:db8:77::2"], answer: http, status: 200}`})
	mark := n.mark()
	cold := n.deploy("cold")
	refuses := n.deploy("refuses", "ignore: {answer: refuse}")
	accepts := n.deploy("accepts", "ignore: {sources: [192.0.2.0/24], answer: accept}")
	n.outside.answered("asleep", "cold", cold.addr4(80), cold.addr6(80))
	n.outside.sinkRefuses("the spec says so", refuses.addr4(80), refuses.addr6(80), cold.addr4(81))
	for _, to := range []netip.AddrPort{accepts.addr4(80), accepts.addr6(80)} {
		conn, err := n.outside.connect(to)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(conn); len(got) > 0 || err != nil {
			t.Errorf("%s: %q (%v), want an end in order", to, got, err)
		}
		conn.Close()
	}

	s := n.deploy("shop", "idle: 1s", "tiers: [frozen]", "busy: false") // what monitors cost by the hundred a second would be work
	visitor := n.local.keep(s.addr4(80))                                // keeps it awake until the monitors have come
	if err := visitor.ask(); err != nil {
		t.Fatal(err)
	}
	if got, err := n.outside.monitor(s.addr4(80)); got != "" || err != nil {
		t.Errorf("awake: from tier %q (%v), want the site's own answer", got, err)
	}
	open := n.outside.keep(s.addr4(80))
	visitor.conn.Close()
	testutil.WaitFor(t, patience, "sleep, while a monitor asks and another has a connection open", func() error {
		if tier, err := n.outside.monitor(s.addr4(80)); tier != "frozen" { // what is under way as it falls asleep gets no answer
			return fmt.Errorf("answered from tier %q (%w)", tier, err)
		}
		return nil
	})
	pid := s.pid()
	slept := n.mark()
	if err := open.conn.SetDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(open.conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	var timeout net.Error
	if got, err := open.conn.Read(make([]byte, 1)); got > 0 || !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("what is sent by an open connection: %d bytes, %v, want silence", got, err)
	}
	n.outside.answered("frozen", "frozen", s.addr4(80), s.addr6(80))
	if story := s.story(slept); len(story) > 0 || !frozen(t, pid) {
		t.Errorf("a monitor has woken the site: %q", story)
	}

	n.kill()
	n.outside.sinkRefuses("without a daemon", cold.addr4(80), cold.addr6(80), s.addr4(80))
	n.start()
	n.outside.answered("the next daemon", "cold", cold.addr4(80), cold.addr6(80))
	if got := cold.starts(mark) + refuses.starts(mark) + accepts.starts(mark); got != 0 || !frozen(t, pid) {
		t.Errorf("%d sites were woken; shop: %q", got, s.story(slept))
	}
	if got := cold.get().Ignored; got == nil || got.Asleep < 6 || got.Awake != 0 { // more where a SYN was sent again
		t.Errorf("counted of the monitor: %+v", got)
	}
	if got := n.cli("get", "cold"); !strings.Contains(got, " packets while asleep (answer: http 200), 0 while awake") {
		t.Errorf("get shows\n%s", got)
	}
	var metrics bytes.Buffer
	if err := n.api.Metrics(n.ctx(), &metrics); err != nil || !strings.Contains(metrics.String(), `fcnode_site_ignored_total{site="refuses",while="asleep"} `) {
		t.Errorf("metrics (%v):\n%s", err, metrics.String())
	}

	n.deploy("refuses", "ignore: {answer: http, status: 200}")
	n.outside.answered("another spec", "cold", refuses.addr4(80))
	n.local.greet(s.addr4(80)) // who is not ignored wakes it
	n.local.greet(cold.addr4(80))
	n.outside.greet(cold.addr4(80)) // and then it serves all
}
