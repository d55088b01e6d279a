package front

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/conf"
	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/routes"
)

func TestRates(t *testing.T) {
	r := newRates(10, 3)
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for i := range 3 {
		if _, ok := r.allow(a, "x"); !ok {
			t.Fatalf("request %d of a burst is refused", i)
		}
	}
	if after, ok := r.allow(a, "x"); ok || after < 1 {
		t.Errorf("one too many: %d, %v", after, ok)
	}
	for _, other := range []struct {
		from netip.Addr
		site string
	}{{b, "x"}, {a, "y"}} {
		if _, ok := r.allow(other.from, other.site); !ok {
			t.Errorf("%s at %s pays for another", other.from, other.site)
		}
	}
	// The addresses of one customer are one source.
	for i := range 4 {
		_, ok := r.allow(netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i+1)), "x")
		if ok != (i < 3) {
			t.Errorf("address %d of a /64: %v", i, ok)
		}
	}
	if _, ok := r.allow(netip.MustParseAddr("2001:db8:0:1::1"), "x"); !ok {
		t.Error("the next /64 pays for it")
	}
	if _, ok := newRates(0, 1).allow(a, "x"); !ok {
		t.Error("no limit refuses")
	}
}

// What is kept of sources that are silent again is dropped: a flood from everywhere does not fill the memory.
func TestRatesForget(t *testing.T) {
	r := newRates(1e9, 1) // after a nanosecond a source is as new
	for i := range 64 * 4 * sweepFrom {
		r.allow(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), "x")
	}
	kept := 0
	for i := range r.shards {
		kept += len(r.shards[i].full)
	}
	if kept > 64*(sweepFrom+1) {
		t.Errorf("%d sources are kept", kept)
	}
}

func BenchmarkRates(b *testing.B) {
	r := newRates(1e6, 1000)
	a := netip.MustParseAddr("192.0.2.1")
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			r.allow(a, "blog")
		}
	})
}

func TestConnectionsPerSource(t *testing.T) {
	r := start(t, options{conf: func(c *conf.Config) { c.Limits.Connections = 2 }})
	r.site("a", echo, nil)
	open := func() (io.Closer, error) {
		c, err := net.Dial("tcp", r.http)
		if errors.Is(err, syscall.ECONNRESET) { // reset before Dial has looked at it
			return io.NopCloser(nil), err
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil {
			err = resp.Body.Close()
		}
		return c, err
	}
	var conns []io.Closer
	for range 2 {
		c, err := open()
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	if c, err := open(); err == nil {
		t.Error("a third connection is served")
		c.Close()
	}
	for _, c := range conns {
		c.Close()
	}
	for deadline := time.Now().Add(patience); ; {
		c, err := open()
		c.Close()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after the others have ended: %v", err)
		}
	}
}

// One network wakes few sites, by names in ClientHellos as by requests, and is served by those that are awake.
func TestWakesPerNetwork(t *testing.T) {
	r := start(t, options{names: []string{"*.example"}, conf: func(c *conf.Config) { c.Limits.WakeRate, c.Limits.Wakes = 0.001, 3 }})
	for i := range 5 {
		r.site(fmt.Sprintf("s%d", i), echo, nil)
	}
	visitors := map[string]*http.Client{}
	for i, url := range []string{"https://s0.example/", "https://s1.example/", "http://s2.example/", "https://s3.example/", "http://s4.example/", "https://s0.example/"} {
		want := http.StatusOK
		if i == 3 || i == 4 {
			want = http.StatusTooManyRequests
		}
		if visitors[url] == nil {
			visitors[url] = r.client("1")
		}
		if got := r.ask(visitors[url], url); got.status != want || (got.header.Get("Retry-After") != "") != (want != http.StatusOK) {
			t.Errorf("%s: %d, want %d", url, got.status, want)
		}
	}
	for range 3 {
		receive(t, "a wake", r.dialed)
	}
	r.nobody(t, "a site too many")
	a, b, other := netip.MustParseAddr("::ffff:192.0.2.1"), netip.MustParseAddr("192.0.2.255"), netip.MustParseAddr("192.0.3.1")
	r.wakes = newRates(0.001, 1)
	for _, tt := range []struct {
		from netip.Addr
		want bool
	}{{a, true}, {b, false}, {other, true}, {netip.MustParseAddr("2001:db8::1"), true}, {netip.MustParseAddr("2001:db8::2:1"), false}, {netip.MustParseAddr("2001:db8:0:1::1"), true}} {
		if _, ok := r.mayWake(tt.from); ok != tt.want {
			t.Errorf("%s: %t", tt.from, ok)
		}
	}
}

// So it is with sites whose connections are forwarded unread.
func TestWakesByPassthrough(t *testing.T) {
	r := start(t, options{names: []string{"*.example"}, conf: func(c *conf.Config) { c.Limits.WakeRate, c.Limits.Wakes = 0.001, 1 }})
	for _, name := range []string{"one", "two"} {
		site := httptest.NewUnstartedServer(http.HandlerFunc(echo))
		site.TLS = &tls.Config{Certificates: []tls.Certificate{r.ca.issue(t, name+".example")}}
		site.StartTLS()
		t.Cleanup(site.Close)
		r.put(name, site.Listener.Addr(), func(r *routes.Route) { r.HTTPS = routes.Passthrough })
	}
	waitShape(t, r, func(s shape) bool { return s.passthrough })
	dial := func(name string) error {
		c, err := tls.Dial("tcp", r.https, &tls.Config{RootCAs: r.ca.pool, ServerName: name + ".example"})
		if err == nil {
			t.Cleanup(func() { c.Close() })
		}
		return err
	}
	if err := dial("one"); err != nil {
		t.Errorf("the first: %v", err)
	}
	receive(t, "a wake", r.dialed)
	if err := dial("two"); !errors.Is(err, io.EOF) {
		t.Errorf("one too many: %v", err)
	}
	r.nobody(t, "one too many")
	if err := dial("one"); err != nil { // which is awake
		t.Errorf("the first again: %v", err)
	}
}

func TestRequestLimits(t *testing.T) {
	block, blocked := make(chan struct{}), make(chan struct{}, 10)
	r := start(t, options{conf: func(c *conf.Config) {
		c.Limits.Rate, c.Limits.Burst, c.Limits.PerSite, c.Limits.HeaderBytes = 0.001, 5, 2, 8<<10
	}})
	r.site("busy", func(http.ResponseWriter, *http.Request) { blocked <- struct{}{}; <-block }, nil)
	r.site("a", echo, nil)
	for range 2 {
		go func() {
			resp, err := r.client("1").Get("http://busy.example/")
			if err == nil {
				resp.Body.Close()
			}
		}()
		receive(t, "a request to be under way", blocked)
	}
	if got := r.ask(r.client("1"), "http://busy.example/"); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("one too many at once: %d", got.status)
	}
	close(block)
	for i := range 7 {
		want := 200
		if i >= 5 {
			want = http.StatusTooManyRequests
		}
		if got := r.ask(r.client("1"), "http://a.example/"); got.status != want || (got.header.Get("Retry-After") != "") != (want != 200) {
			t.Errorf("request %d: %d, want %d", i, got.status, want)
		}
	}
	req, _ := http.NewRequest(http.MethodGet, "http://large.example/", nil)
	req.Header.Set("X", strings.Repeat("x", 16<<10))
	r.site("large", func(http.ResponseWriter, *http.Request) { t.Error("a large header reached the site") }, nil)
	// The connection may be reset before the answer is read, as the rest of the header is not.
	resp, err := r.client("1").Do(req)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a large header: %s", resp.Status)
	}
}

// Whoever sends a header too slowly is cut off; the site is not asked for.
func TestSlowHeaders(t *testing.T) {
	r := start(t, options{sleep: true, conf: func(c *conf.Config) { c.Limits.HeaderTimeout = 100 * time.Millisecond }})
	r.site("a", echo, nil)
	conn, err := net.Dial("tcp", r.http)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a.example\r\n")
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("a header that never ends: %v", err)
	}
	r.nobody(t, "half a header")
	close(r.asleep)
}

// Whoever sends a body too slowly, or stops, or does not read the answer, is cut off, whatever the version; a site has no say in it.
func TestSlowBodies(t *testing.T) {
	r := start(t, options{names: []string{"a.example"}, conf: func(c *conf.Config) {
		c.Limits.BodyTimeout, c.Limits.BodyRate = 200*time.Millisecond, 1<<20
	}})
	ended := make(chan error, 1)
	r.site("a", func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		for r.Method == http.MethodGet && err == nil {
			_, err = w.Write(make([]byte, 1<<20))
		}
		ended <- err
	}, nil)
	for _, version := range []string{"1", "2", "3"} {
		for _, pause := range []time.Duration{time.Hour, time.Millisecond} { // it stops, and it comes in drops
			body, out := io.Pipe()
			go func() {
				for {
					if _, err := out.Write([]byte("x")); err != nil {
						return
					}
					select {
					case <-t.Context().Done():
						return
					case <-time.After(pause):
					}
				}
			}()
			go func() {
				resp, err := r.client(version).Post("https://a.example/", "text/plain", body)
				if err == nil {
					resp.Body.Close()
				}
			}()
			if err := receive(t, "the end of a slow body, version "+version, ended); err == nil {
				t.Errorf("version %s, a pause of %s: the site got a whole body", version, pause)
			}
			body.Close()
		}
		resp, err := r.client(version).Get("https://a.example/")
		if err != nil {
			t.Fatal(err)
		}
		if err := receive(t, "the end of an answer that nobody reads, version "+version, ended); err == nil {
			t.Errorf("version %s: an answer without an end has ended", version)
		}
		resp.Body.Close()
	}
}

func TestLimitsKeepSitesApart(t *testing.T) {
	r := start(t, options{conf: func(c *conf.Config) { c.Limits.PerSite = 1 }})
	block, blocked := make(chan struct{}), make(chan struct{}, 1)
	r.site("busy", func(http.ResponseWriter, *http.Request) { blocked <- struct{}{}; <-block }, nil)
	r.site("a", echo, func(*routes.Route) {})
	go func() {
		resp, err := r.client("1").Get("http://busy.example/")
		if err == nil {
			resp.Body.Close()
		}
	}()
	receive(t, "the busy site", blocked)
	if got := r.ask(r.client("1"), "http://a.example/"); got.status != 200 {
		t.Errorf("the other site: %d", got.status)
	}
	close(block)
}
