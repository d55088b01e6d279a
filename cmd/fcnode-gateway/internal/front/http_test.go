package front

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
	"golang.org/x/net/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/conf"
	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/routes"
)

// Every version of HTTP finds the site by its name, and the site learns who visits, whatever the visitor claims.
func TestVersionsAndHeaders(t *testing.T) {
	r := start(t, options{names: []string{"a.example", "b.example"}})
	r.site("a", echo, nil)
	r.site("b", echo, func(r *routes.Route) { r.Protocol = "h2c" })
	for _, c := range []struct{ version, scheme, proto string }{
		{"1", "http", "HTTP/1.1"}, {"1", "https", "HTTP/1.1"}, {"2", "https", "HTTP/1.1"}, {"3", "https", "HTTP/1.1"},
	} {
		for host, proto := range map[string]string{"a.example": c.proto, "b.example": "HTTP/2.0"} {
			got := r.do(r.client(c.version), http.MethodPost, c.scheme+"://"+host+"/path?q=%20", strings.NewReader("text"),
				"X-Forwarded-For", "192.0.2.1", "Forwarded", "for=192.0.2.1", "X-Real-Ip", "192.0.2.1", "X-Forwarded-Proto", "gopher",
				"X-Client-Subject", "CN=root")
			if got.status != 200 || got.body != "body:text" {
				t.Fatalf("%s over %s %s: %d %q\n%s", host, c.scheme, c.version, got.status, got.body, r.log)
			}
			for name, want := range map[string]string{
				"Saw-Proto": proto, "Saw-Host": host, "Saw-Uri": "/path?q=%20", "Saw-X-Forwarded-For": "127.0.0.1",
				"Saw-X-Forwarded-Proto": c.scheme, "Saw-X-Forwarded-Host": host, "Saw-X-Real-Ip": "127.0.0.1", "Saw-X-Client-Subject": "",
				"Saw-Forwarded": fmt.Sprintf("for=127.0.0.1;host=%q;proto=%s", host, c.scheme),
			} {
				if got := strings.Join(got.header[name], "|"); got != want {
					t.Errorf("%s over %s %s: %s is %q, want %q", host, c.scheme, c.version, name, got, want)
				}
			}
			// What has no body has none for the site, either.
			if got := r.ask(r.client(c.version), c.scheme+"://"+host+"/"); got.body != "body:" || got.header["Saw-Transfer-Encoding"] != nil {
				t.Errorf("%s over %s %s: a GET comes with a body: %v", host, c.scheme, c.version, got.header["Saw-Transfer-Encoding"])
			}
		}
	}
}

// What a front end says about the visitor is taken if the front end is trusted, as far as it goes back to trusted ones.
func TestTrustedHeaders(t *testing.T) {
	r := start(t, options{conf: func(c *conf.Config) {
		c.Trusted.Headers = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}})
	r.site("a", echo, func(r *routes.Route) { r.HTTPS = routes.Redirect })
	got := r.ask(r.client("1"), "http://a.example/", "X-Forwarded-For", "6.6.6.6, 192.0.2.1", "X-Forwarded-Proto", "https", "Forwarded", "for=192.0.2.1")
	if got.status != 200 {
		t.Fatalf("%d: a visitor who came to the front end by HTTPS is sent there again", got.status)
	}
	for name, want := range map[string]string{
		"Saw-X-Forwarded-For": "6.6.6.6, 192.0.2.1, 127.0.0.1", "Saw-X-Real-Ip": "192.0.2.1", "Saw-X-Forwarded-Proto": "https",
		"Saw-Forwarded": `for=192.0.2.1, for=127.0.0.1;host="a.example";proto=https`,
	} {
		if got := got.header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// Sites that take the visitor's address from private front ends only, as the official WordPress image does, are reached from such
// an address where the operator has given one.
func TestSource(t *testing.T) {
	source := netip.MustParseAddr("127.0.0.77")
	r := start(t, options{conf: func(c *conf.Config) { c.Source = source }})
	seen, done := make(chan string, 2), make(chan struct{})
	r.site("a", func(_ http.ResponseWriter, r *http.Request) { seen <- r.RemoteAddr; <-done }, nil)
	var visitors sync.WaitGroup
	for range 2 { // by the connection that woke it, and by another
		visitors.Go(func() { r.ask(r.client("1"), "http://a.example/") })
		if from := receive(t, "a visit", seen); !strings.HasPrefix(from, source.String()+":") {
			t.Errorf("the site is reached from %s", from)
		}
	}
	close(done)
	visitors.Wait()
	if got, err := portLeftOpen(r.dialer(r.http), r.http); got != 1 || err != nil {
		t.Errorf("a port of the source is one for all sites: %d %v", got, err)
	}
	if d := r.dialer("[::1]:80"); d.LocalAddr != nil {
		t.Errorf("a site with IPv6 is reached from %s", d.LocalAddr)
	}
}

// portLeftOpen gives IP_BIND_ADDRESS_NO_PORT of a connection.
func portLeftOpen(d *net.Dialer, addr string) (value int, err error) {
	c, err := d.Dial("tcp", addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	controlled := raw.Control(func(fd uintptr) { value, err = syscall.GetsockoptInt(int(fd), syscall.SOL_IP, bindAddressNoPort) })
	return value, errors.Join(controlled, err)
}

// proxied is a site that expects the PROXY protocol and answers with the address that it was told.
func proxied(t *testing.T) net.Addr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pl := &proxyproto.Listener{Listener: l, ConnPolicy: func(proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) { return proxyproto.REQUIRE, nil }}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RemoteAddr) })}
	go server.Serve(pl) //nolint:errcheck // it ends when the test does
	t.Cleanup(func() { server.Close() })
	return l.Addr()
}

func TestProxyProtocolToSites(t *testing.T) {
	r := start(t, options{names: []string{"v1.example", "v2.example"}})
	for _, version := range []string{"v1", "v2"} {
		r.put(version, proxied(t), func(r *routes.Route) { r.ProxyProtocol = version })
		for range 2 { // by the connection that woke it, and by another
			c := r.client("2")
			if got := r.ask(c, "https://"+version+".example/"); !strings.HasPrefix(got.body, "127.0.0.1:") {
				t.Errorf("%s: %d, the site sees %q", version, got.status, got.body)
			}
		}
	}
}

func TestProxyProtocolFromFrontEnds(t *testing.T) {
	ask := func(r *rig) string {
		conn, err := net.Dial("tcp", r.http)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		fmt.Fprint(conn, "PROXY TCP4 192.0.2.7 192.0.2.8 1234 80\r\nGET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.Status + " " + resp.Header.Get("Saw-X-Forwarded-For")
	}
	t.Run("trusted", func(t *testing.T) {
		r := start(t, options{conf: func(c *conf.Config) {
			c.Trusted.ProxyProtocol = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		}})
		r.site("a", echo, nil)
		if got := ask(r); got != "200 OK 192.0.2.7" {
			t.Errorf("the site sees %s", got)
		}
	})
	t.Run("anybody", func(t *testing.T) {
		r := start(t, options{})
		r.site("a", echo, nil)
		if got := ask(r); !strings.HasPrefix(got, "400 ") {
			t.Errorf("a visitor's own header got %s", got)
		}
	})
}

// Bodies flow while they are being sent, in both directions, at any length.
func TestNothingIsBuffered(t *testing.T) {
	r := start(t, options{names: []string{"a.example"}})
	got := make(chan string, 1)
	r.site("a", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			for _, text := range []string{"first", "second"} {
				fmt.Fprint(w, text)
				_ = http.NewResponseController(w).Flush()
				if text == "first" {
					<-got // that the visitor has read it
				}
			}
			return
		}
		buf := make([]byte, 5)
		_, _ = io.ReadFull(r.Body, buf)
		got <- string(buf)
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	}, nil)
	for _, version := range []string{"1", "2", "3"} {
		in, out := io.Pipe()
		answer := make(chan reply, 1)
		go func() { answer <- r.do(r.client(version), http.MethodPost, "https://a.example/", in) }()
		fmt.Fprint(out, "begin")
		if text := receive(t, "the begin of the upload, version "+version, got); text != "begin" {
			t.Errorf("the site got %q", text)
		}
		const size = 32 << 20
		_, err := io.CopyN(out, zeros{}, size)
		out.CloseWithError(err)
		if a := receive(t, "the end of the upload", answer); a.body != fmt.Sprint(size) {
			t.Errorf("version %s: %d, the site got %s bytes of %d", version, a.status, a.body, size)
		}
		resp, err := r.client(version).Get("https://a.example/")
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 5)
		if _, err := io.ReadFull(resp.Body, buf); err != nil {
			t.Fatal(err)
		}
		got <- ""
		rest, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(buf)+string(rest) != "firstsecond" || err != nil {
			t.Errorf("version %s: got %q and %q, %v", version, buf, rest, err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestWebSocket(t *testing.T) {
	r := start(t, options{names: []string{"a.example"}})
	r.site("a", websocket.Handler(func(c *websocket.Conn) { _, _ = io.Copy(c, c) }).ServeHTTP, nil)
	cfg, err := websocket.NewConfig("wss://a.example/", "https://a.example")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := tls.Dial("tcp", r.https, &tls.Config{RootCAs: r.ca.pool, ServerName: "a.example"})
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(patience))
	c, err := websocket.NewClient(cfg, raw)
	if err != nil {
		t.Fatal(err)
	}
	say := func(text string) {
		t.Helper()
		var got string
		if err := websocket.Message.Send(c, text); err != nil {
			t.Fatal(err)
		}
		if err := websocket.Message.Receive(c, &got); err != nil || got != text {
			t.Fatalf("said %q, heard %q, %v", text, got, err)
		}
	}
	say("hello")
	// It outlives a change of Caddy's configuration.
	if err := r.Reload(); err != nil {
		t.Fatal(err)
	}
	say("again")
}

func TestGRPC(t *testing.T) {
	r := start(t, options{names: []string{"a.example"}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, service := grpc.NewServer(), health.NewServer()
	grpc_health_v1.RegisterHealthServer(server, service)
	go server.Serve(l) //nolint:errcheck // it ends when the test does
	t.Cleanup(server.Stop)
	r.put("a", l.Addr(), nil)
	conn, err := grpc.NewClient("passthrough:///"+r.https,
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: r.ca.pool, ServerName: "a.example"})), grpc.WithAuthority("a.example"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client := grpc_health_v1.NewHealthClient(conn)
	if got, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil || got.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatalf("%v, %v\n%s", got, err, r.log)
	}
	watch, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []grpc_health_v1.HealthCheckResponse_ServingStatus{
		grpc_health_v1.HealthCheckResponse_SERVING, grpc_health_v1.HealthCheckResponse_NOT_SERVING,
	} {
		got, err := watch.Recv()
		if err != nil || got.Status != want {
			t.Fatalf("the stream says %v, %v, want %v", got, err, want)
		}
		service.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	}
}

// Streams in both directions may be silent for longer than a body may: WebSocket's and gRPC's.
func TestStreamsMayBeSilent(t *testing.T) {
	const most = 100 * time.Millisecond
	r := start(t, options{names: []string{"a.example", "ws.example"}, conf: func(c *conf.Config) { c.Limits.BodyTimeout, c.Limits.HeaderTimeout = most, most }})
	r.site("a", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_ = http.NewResponseController(w).Flush()
		for buf := make([]byte, 5); ; {
			if _, err := io.ReadFull(r.Body, buf); err != nil {
				return
			}
			_, _ = w.Write(buf)
			_ = http.NewResponseController(w).Flush()
		}
	}, nil)
	r.site("ws", websocket.Handler(func(c *websocket.Conn) { _, _ = io.Copy(c, c) }).ServeHTTP, nil)
	raw, err := tls.Dial("tcp", r.https, &tls.Config{RootCAs: r.ca.pool, ServerName: "ws.example"})
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(patience))
	cfg, err := websocket.NewConfig("wss://ws.example/", "https://ws.example")
	if err != nil {
		t.Fatal(err)
	}
	ws, err := websocket.NewClient(cfg, raw)
	if err != nil {
		t.Fatal(err)
	}
	streams := map[string]io.ReadWriter{"a WebSocket": ws}
	for _, version := range []string{"2", "3"} {
		in, out := io.Pipe()
		defer out.Close()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://a.example/", in)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/grpc")
		resp, err := r.client(version).Do(req)
		if err != nil {
			t.Fatalf("version %s: %v", version, err)
		}
		defer resp.Body.Close()
		streams["a stream by version "+version] = struct {
			io.Reader
			io.Writer
		}{resp.Body, out}
	}
	for range 3 {
		for name, s := range streams {
			buf := make([]byte, 5)
			if _, err := io.WriteString(s, "hello"); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if _, err := io.ReadFull(s, buf); err != nil || string(buf) != "hello" {
				t.Fatalf("%s: %q, %v", name, buf, err)
			}
		}
		<-time.After(3 * most) // the silence
	}
}

// follow follows a daemon that tells these routes until one of their domains is there, and says how long that took.
func follow(t *testing.T, r *rig, all []routes.Route, domain string) time.Duration {
	t.Helper()
	var lines bytes.Buffer
	enc := json.NewEncoder(&lines)
	err := enc.Encode(routes.Update{Version: routes.Version})
	for i := range all {
		err = errors.Join(err, enc.Encode(routes.Update{Route: &all[i]}))
	}
	dir := t.TempDir()
	l, listenErr := net.Listen("unix", filepath.Join(dir, "routes.sock"))
	if err := errors.Join(err, enc.Encode(routes.Update{Synced: true}), listenErr); err != nil {
		t.Fatal(err)
	}
	daemon := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(lines.Bytes())
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})}
	go daemon.Serve(l) //nolint:errcheck // it ends below
	defer daemon.Close()
	changed := make(chan struct{}, 1)
	feed := &routes.Feed{
		Socket: l.Addr().String(), File: filepath.Join(dir, "routes.jsonl"), Table: r.Table, Log: slog.New(slog.DiscardHandler),
		Changed: func() {
			r.Changed()
			select {
			case changed <- struct{}{}:
			default:
			}
		},
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	begin := time.Now()
	go func() { feed.Follow(ctx); close(ended) }()
	defer func() { cancel(); <-ended }()
	for {
		if _, ok := r.Table.Lookup(domain); ok {
			return time.Since(begin)
		}
		receive(t, domain, changed)
	}
}

// The daemon tells of ten thousand other domains, and Caddy's own configuration changes with them, while visitors keep coming: all
// get their answer.
func TestReloadsLoseNobody(t *testing.T) {
	r := start(t, options{names: []string{"a.example"}, conf: func(c *conf.Config) { c.Limits.Rate = 0 }}) // as many visits as the machine can
	r.site("a", echo, nil)
	var all []routes.Route
	for _, s := range r.Table.Sites() {
		all = append(all, s.Route)
	}
	stay := len(all)
	for i := range 10_000 {
		all = append(all, routes.Route{Site: fmt.Sprint("s", i), Domains: []string{fmt.Sprintf("s%d.example", i)}})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var visitors sync.WaitGroup
	var answers atomic.Int64
	for _, version := range []string{"1", "2", "3"} {
		c := r.client(version)
		visitors.Go(func() {
			for ctx.Err() == nil {
				if got := r.ask(c, "https://a.example/"); got.status != 200 {
					t.Errorf("version %s: %d %s", version, got.status, got.body)
				}
				answers.Add(1)
			}
		})
	}
	fastest := time.Hour // a busy machine may hold up any of them
	for round := range 5 {
		for i := range all[stay:] {
			all[stay+i].Domains = []string{fmt.Sprintf("s%d-%d.example", i, round)}
		}
		before := answers.Load()
		fastest = min(fastest, follow(t, r, all, fmt.Sprintf("s9999-%d.example", round)))
		if err := r.Reload(); err != nil {
			t.Error(err)
		}
		for deadline := time.Now().Add(patience); answers.Load() < before+10 && time.Now().Before(deadline); {
			r.ask(r.client("1"), "http://a.example/")
		}
	}
	cancel()
	visitors.Wait()
	t.Logf("10,000 domains changed in %s, %d answers meanwhile", fastest, answers.Load())
	if fastest > time.Second {
		t.Errorf("10,000 domains took %s to change", fastest)
	}
}
