package answer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/tests/testutil"
)

// start serves on loopback until the test ends; all that asks gets this answer.
func start(t *testing.T, a *Answerer, answer Answer) (at string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at = l.Addr().String()
	a.Log = slog.New(slog.DiscardHandler)
	a.Guard = func(f func()) { f() }
	if a.Find == nil {
		a.Find = func(local netip.AddrPort) (Answer, bool) { return answer, local.String() == at }
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan bool, 1)
	go func() {
		a.Serve(ctx, l.(*net.TCPListener))
		done <- true
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		testutil.Receive(t, 10*time.Second, "the end of the answerer", done)
	})
	t.Cleanup(stop)
	return at, stop
}

func dial(t *testing.T, from, to string) net.Conn {
	t.Helper()
	c, err := tryDial(t, from, to)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func tryDial(t *testing.T, from, to string) (net.Conn, error) {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: testutil.Timeout(10 * time.Second)}
	c, err := d.DialContext(t.Context(), "tcp4", to)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { c.Close() })
	return c, c.SetDeadline(time.Now().Add(testutil.Timeout(30 * time.Second)))
}

// tell sends a text and returns all that comes back.
func tell(t *testing.T, c net.Conn, text string) (string, error) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		return "", err
	}
	got, err := io.ReadAll(c)
	return string(got), err
}

func TestAnswersByHTTP(t *testing.T) {
	for _, status := range []int{200, 204, 503} {
		at, _ := start(t, &Answerer{}, Answer{HTTP: true, Status: status, Tier: "frozen"})
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
			req, err := http.NewRequestWithContext(t.Context(), method, "http://"+at+"/health?x=1", strings.NewReader(strings.Repeat("x", 12<<10)))
			if err != nil {
				t.Fatal(err)
			}
			if method != http.MethodPost {
				req.Body, req.ContentLength = nil, 0
			}
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatalf("%s %d: %v", method, status, err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			says := method != http.MethodHead && status != 204
			if resp.StatusCode != status || resp.Header.Get(TierHeader) != "frozen" || resp.Header.Get("Cache-Control") != "no-store" || !resp.Close ||
				err != nil || strings.Contains(string(body), "frozen") != says {
				t.Errorf("%s %d: %s, %v, body %q (%v)", method, status, resp.Status, resp.Header, body, err)
			}
		}
	}
}

// What is no request that can be answered ends without one, in order.
func TestNoAnswer(t *testing.T) {
	byHTTP := Answer{HTTP: true, Status: 200, Tier: "cold"}
	for name, c := range map[string]struct {
		answer Answer
		text   string
	}{
		"accept":            {Answer{}, ""},
		"accept, a request": {Answer{}, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
		"a TLS handshake":   {byHTTP, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"},
		"an endless header": {byHTTP, "GET / HTTP/1.1\r\nX: " + strings.Repeat("x", maxRequest) + "\r\n\r\n"},
		"an endless line":   {byHTTP, "GET /" + strings.Repeat("x", maxRequest)},
	} {
		t.Run(name, func(t *testing.T) {
			at, _ := start(t, &Answerer{}, c.answer)
			if got, err := tell(t, dial(t, "127.0.0.1", at), c.text); got != "" || err != nil {
				t.Errorf("%q (%v), want nothing", got, err)
			}
		})
	}
	at, _ := start(t, &Answerer{Find: func(netip.AddrPort) (Answer, bool) { return byHTTP, false }}, byHTTP)
	if got, err := tell(t, dial(t, "127.0.0.1", at), ""); got != "" || err != nil {
		t.Errorf("a site that there is not: %q (%v), want nothing", got, err)
	}
}

// Who has the answer and does not end the connection is reset, and leaves no socket behind.
func TestStubbornClient(t *testing.T) {
	at, _ := start(t, &Answerer{within: testutil.Timeout(time.Second)}, Answer{HTTP: true, Status: 200, Tier: "cold"})
	c := dial(t, "127.0.0.1", at)
	if got, err := tell(t, c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200") || err != nil {
		t.Fatalf("%q (%v)", got, err)
	}
	testutil.WaitFor(t, 10*time.Second, "a reset", func() error {
		if _, err := io.WriteString(c, "x"); !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.EPIPE) {
			return fmt.Errorf("writing to it: %w", err)
		}
		return nil
	})
}

// Who sends a byte now and then, or nothing, is let go when the time is over.
func TestSlowClients(t *testing.T) {
	at, _ := start(t, &Answerer{within: testutil.Timeout(time.Second)}, Answer{HTTP: true, Status: 200})
	var all sync.WaitGroup
	for _, text := range []string{"", "GET / HT", "GET / HTTP/1.1\r\nHost: a\r\n"} {
		c := dial(t, "127.0.0.1", at)
		all.Go(func() {
			if got, err := tell(t, c, text); got != "" || err != nil {
				t.Errorf("%q: %q (%v), want nothing", text, got, err)
			}
		})
	}
	all.Wait()
}

// One source can have a few connections open, and neither keeps others out nor comes in
// by more: those are reset.
func TestBoundsOfASource(t *testing.T) {
	a := &Answerer{within: testutil.Timeout(time.Minute)}
	at, stop := start(t, a, Answer{HTTP: true, Status: 200, Tier: "cold"})
	for range maxPerSource {
		dial(t, "127.0.0.1", at)
	}
	testutil.WaitFor(t, 10*time.Second, "all of them to be there", func() error {
		a.mu.Lock()
		defer a.mu.Unlock()
		if n := a.bySource[netip.MustParsePrefix("127.0.0.1/32")]; n != maxPerSource {
			return fmt.Errorf("%d connections", n)
		}
		return nil
	})
	const request = "GET / HTTP/1.0\r\n\r\n"
	var got string
	more, err := tryDial(t, "127.0.0.1", at) // the reset may come before the connection is seen
	if err == nil {
		got, err = tell(t, more, request)
	}
	if got != "" || !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.EPIPE) {
		t.Errorf("one more: %q (%v), want a reset", got, err)
	}
	if got, err := tell(t, dial(t, "127.0.0.2", at), request); !strings.HasPrefix(got, "HTTP/1.1 200") || err != nil {
		t.Errorf("another source: %q (%v)", got, err)
	}
	stop() // which waits for none of them
	if len(a.bySource) != 0 {
		t.Errorf("still counted: %v", a.bySource)
	}
}

// All sources together have so many connections; the next one waits in the kernel until
// one of them ends.
func TestBoundOfAll(t *testing.T) {
	a := &Answerer{within: testutil.Timeout(time.Minute)}
	at, _ := start(t, a, Answer{HTTP: true, Status: 200, Tier: "cold"})
	var first net.Conn
	for i := range maxConns {
		c := dial(t, fmt.Sprintf("127.0.1.%d", 1+i/maxPerSource), at)
		if first == nil {
			first = c
		}
	}
	full := func() int {
		a.mu.Lock()
		defer a.mu.Unlock()
		n := 0
		for _, of := range a.bySource {
			n += of
		}
		return n
	}
	testutil.WaitFor(t, 10*time.Second, "all slots to be taken", func() error {
		if n := full(); n != maxConns {
			return fmt.Errorf("%d connections", n)
		}
		return nil
	})
	waits := dial(t, "127.0.0.3", at)
	answered := make(chan string, 1)
	go func() {
		got, _ := tell(t, waits, "GET / HTTP/1.0\r\n\r\n")
		answered <- got
	}()
	if n := full(); n != maxConns {
		t.Errorf("%d connections at once, want at most %d", n, maxConns)
	}
	first.Close()
	if got := testutil.Receive(t, 10*time.Second, "the answer to who waited", answered); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Errorf("%q", got)
	}
}

// In the long run a connection each millisecond is accepted, however short they are.
func TestPace(t *testing.T) {
	a := &Answerer{}
	began := time.Now()
	const more = 50
	for range burst + more {
		if !a.pace(t.Context()) {
			t.Fatal("the context has ended")
		}
	}
	if took := time.Since(began); took < (more-1)*pause {
		t.Errorf("%d connections after a burst took %s, want %s at least", more, took, more*pause)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	a.next = time.Now().Add(time.Hour)
	if a.pace(ended) {
		t.Error("one more after the end")
	}
}
