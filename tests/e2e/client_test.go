package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/tests/testutil"
)

// patience bounds what takes milliseconds when all is well.
const patience = 20 * time.Second

// client is a visitor in a network namespace.
type client struct {
	t    testing.TB
	name string
	ns   *testutil.NS
}

func (c *client) dial(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	c.ns.Do(c.t, func() { conn, err = (&net.Dialer{}).DialContext(ctx, network, addr) })
	return conn, err
}

// connect opens a TCP connection within patience.
func (c *client) connect(to netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), testutil.Timeout(patience))
	defer cancel()
	return c.dial(ctx, "tcp", to.String())
}

// http is an HTTP client of which each request has a connection of its own, unless keep is set.
func (c *client) http(keep bool) *http.Client {
	return &http.Client{
		Transport: &http.Transport{DialContext: c.dial, DisableKeepAlives: !keep, MaxIdleConnsPerHost: 1000},
		Timeout:   testutil.Timeout(patience),
	}
}

// answer is what a visitor got.
type answer struct {
	body string
	took time.Duration
	from netip.AddrPort // the visitor's own address
}

// get asks for a page by a connection of its own.
func (c *client) get(to netip.AddrPort, path string) (answer, error) {
	return c.ask(http.MethodGet, to, path, nil)
}

func (c *client) ask(method string, to netip.AddrPort, path string, body io.Reader) (answer, error) {
	var a answer
	h := c.http(false)
	tr := h.Transport.(*http.Transport)
	tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := c.dial(ctx, network, addr)
		if err == nil {
			a.from = conn.LocalAddr().(*net.TCPAddr).AddrPort()
		}
		return conn, err
	}
	req, err := http.NewRequestWithContext(context.Background(), method, "http://"+to.String()+path, body)
	if err != nil {
		return a, err
	}
	begin := time.Now()
	a.body, err = read(h.Do(req))
	a.took = time.Since(begin)
	return a, err
}

// read reads an answer to its end.
func read(resp *http.Response, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("the answer broke off after %d bytes: %w", len(b), err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(b))
	}
	return string(b), nil
}

// mustGet does so and fails the test when there is no answer.
func (c *client) mustGet(to netip.AddrPort, path string) answer {
	c.t.Helper()
	a, err := c.get(to, path)
	if err != nil {
		c.t.Fatalf("%s client: GET http://%s%s: %v", c.name, to, path, err)
	}
	return a
}

// greet asks for the greeting, checks that both ends agree who they are, and returns the replica's name.
func (c *client) greet(to netip.AddrPort) string {
	c.t.Helper()
	a := c.mustGet(to, "/")
	f := strings.Fields(a.body)
	if len(f) != 5 {
		c.t.Fatalf("%s client: %s greets with %q", c.name, to, a.body)
	}
	if f[0] != a.from.String() || f[2] != to.String() {
		c.t.Errorf("%s client: %s has visited %s, but the site saw %q", c.name, a.from, to, a.body)
	}
	return f[4]
}

// transfer moves n bytes each way and compares them.
func (c *client) transfer(to netip.AddrPort, n int64) {
	c.t.Helper()
	h := sha256.New()
	_, _ = io.Copy(h, io.LimitReader(&pattern{}, n)) // neither can fail
	want := fmt.Sprintf("%d %x", n, h.Sum(nil))

	got := c.mustGet(to, fmt.Sprintf("/bytes?n=%d", n)).body
	if have := fmt.Sprintf("%d %x", len(got), sha256.Sum256([]byte(got))); have != want {
		c.t.Errorf("%s client: from %s came %s, want %s", c.name, to, have, want)
	}
	up, err := c.ask(http.MethodPost, to, "/sum", io.LimitReader(&pattern{}, n))
	if err != nil || up.body != want {
		c.t.Errorf("%s client: %s received %q (%v), want %s", c.name, to, up.body, err, want)
	}
}

// askUDP sends a datagram and returns the answer to it.
func askUDP(conn net.Conn, text string) (string, error) {
	if _, err := conn.Write([]byte(text)); err != nil {
		return "", err
	}
	return readUDP(conn)
}

// readUDP returns the next answer.
func readUDP(conn net.Conn) (string, error) {
	if err := conn.SetDeadline(time.Now().Add(testutil.Timeout(patience))); err != nil {
		return "", err
	}
	buf := make([]byte, 64<<10)
	n, err := conn.Read(buf)
	return string(buf[:n]), err
}
