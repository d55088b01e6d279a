package front

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/conf"
	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/routes"
)

// said is an answer without its body.
type said struct {
	StatusCode int
	Status     string
	Header     http.Header
}

// send writes bytes to the gateway as they are, and returns what it says until it closes the connection.
func (r *rig) send(text string) (all []said) {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.http)
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, text); err != nil {
		r.t.Fatal(err)
	}
	for in := bufio.NewReader(conn); ; {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				r.t.Errorf("%q: it waits for more", text)
			}
			return all
		}
		_, _ = io.Copy(io.Discard, resp.Body) // a body that is cut is followed by nothing
		_ = resp.Body.Close()
		all = append(all, said{resp.StatusCode, resp.Status, resp.Header})
	}
}

// wiretap is a site that keeps each request that it gets as it was on the wire, up to the end of its header.
func wiretap(t *testing.T) (net.Addr, <-chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	got := make(chan string, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				var text strings.Builder
				in := bufio.NewReader(io.TeeReader(c, &text))
				req, err := http.ReadRequest(in)
				if err != nil {
					return // a connection that nobody used
				}
				_, _ = io.Copy(io.Discard, req.Body)
				got <- text.String()
				fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			}()
		}
	}()
	return l.Addr(), got
}

// A request of which two readers could think differently where it ends, or for whom it is, reaches no site, or in one sense only.
func TestSmuggling(t *testing.T) {
	r := start(t, options{})
	addr, got := wiretap(t)
	r.put("a", addr, nil)
	const end = "Host: a.example\r\nConnection: close\r\n\r\n"
	for name, text := range map[string]string{
		"two lengths":                 "POST / HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 5\r\n" + end + "abcde",
		"a list of lengths":           "POST / HTTP/1.1\r\nContent-Length: 4, 5\r\n" + end + "abcde",
		"a signed length":             "POST / HTTP/1.1\r\nContent-Length: +4\r\n" + end + "abcd",
		"a negative length":           "POST / HTTP/1.1\r\nContent-Length: -4\r\n" + end + "abcd",
		"an unknown encoding":         "POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n" + end + "0\r\n\r\n",
		"two encodings":               "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n" + end + "0\r\n\r\n",
		"an encoding of an encoding":  "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n" + end + "0\r\n\r\n",
		"an encoding after a tab":     "POST / HTTP/1.1\r\nTransfer-Encoding:\x0bchunked\r\n" + end + "0\r\n\r\n",
		"a space before the colon":    "POST / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n" + end + "0\r\n\r\n",
		"a continued first line":      "GET / HTTP/1.1\r\n X: y\r\n" + end,
		"a carriage return in a line": "GET / HTTP/1.1\r\nX: y\rHost: b.example\r\n" + end,
		"a zero byte":                 "GET / HTTP/1.1\r\nX: y\x00\r\n" + end,
		"two hosts":                   "GET / HTTP/1.1\r\nHost: b.example\r\n" + end,
		"no host":                     "GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
		"a path in the host":          "GET / HTTP/1.1\r\nHost: a.example/x\r\nConnection: close\r\n\r\n",
		"a user in the host":          "GET / HTTP/1.1\r\nHost: b@a.example\r\nConnection: close\r\n\r\n",
		"no protocol":                 "GET /\r\n" + end,
		"another protocol":            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		for _, resp := range r.send(text) {
			if resp.StatusCode != http.StatusNotImplemented && resp.StatusCode/100 != 4 && resp.StatusCode != http.StatusHTTPVersionNotSupported {
				t.Errorf("%s: %s", name, resp.Status)
			}
		}
	}
	select {
	case text := <-got:
		t.Errorf("a site got %q", text)
	default:
	}
	// Of both, the encoding counts (RFC 9112); the site is told of no length, and what follows is a request like any other.
	answers := r.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 60\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" +
		"GET /other HTTP/1.1\r\nHost: stranger.example\r\nConnection: close\r\n\r\n")
	text := receive(t, "the request", got)
	if strings.Contains(text, "Content-Length") || !strings.Contains(text, "Transfer-Encoding: chunked") || strings.Contains(text, "/other") {
		t.Errorf("the site got %q", text)
	}
	for i, resp := range answers {
		if want := []int{200, 404}[i]; resp.StatusCode != want {
			t.Errorf("answer %d: %s, want %d", i, resp.Status, want)
		}
	}
}

// A host is found in every form in which it may be written, and in none that only resembles it. What an absolute URI names counts
// more than Host.
func TestHosts(t *testing.T) {
	r := start(t, options{sleep: true})
	close(r.asleep)
	r.site("a", echo, nil)
	r.site("b", echo, nil)
	for host, want := range map[string]int{
		"a.example": 200, "A.EXAMPLE": 200, "a.example.": 200, "a.example:80": 200, "a.Example.:8080": 200,
		"a.example..": 404, ".a.example": 404, "x.a.example": 404, "*.example": 404, "*": 404, "example": 404, "a.example:80:80": 404,
		"a.example,b.example": 404, "localhost": 404, "localhost:80": 404, "127.0.0.1": 404, "[::1]": 404, "[a.example": 404, "0": 404,
		"a.example%00": 404, "xn--": 404, "a..example": 404, "": 404, strings.Repeat("a.", 4000) + "example": 404,
	} {
		answers := r.send("GET / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n")
		if len(answers) != 1 || answers[0].StatusCode != want && (want != http.StatusNotFound || answers[0].StatusCode != http.StatusBadRequest) {
			t.Errorf("%.40q: %d answers, want %d", host, len(answers), want)
			for _, a := range answers {
				t.Log(a.Status)
			}
		}
	}
	for target, want := range map[string]string{"http://b.example/x": "b.example /x", "http://B.example:80/x?y": "B.example:80 /x?y"} {
		answers := r.send("GET " + target + " HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
		if len(answers) != 1 || answers[0].Header.Get("Saw-Host")+" "+answers[0].Header.Get("Saw-Uri") != want {
			t.Errorf("%s: %v", target, answers)
		}
	}
	if answers := r.send("GET http://stranger.example/ HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"); len(answers) != 1 || answers[0].StatusCode != http.StatusNotFound {
		t.Errorf("an absolute URI of nobody: %v", answers)
	}
}

// What a site is told of its visitor no visitor can take away, by naming it in Connection, or bring along in a form that many
// servers take for the same.
func TestVisitorsDoNotSayWhoTheyAre(t *testing.T) {
	r := start(t, options{names: []string{"a.example"}})
	headers := make(chan http.Header, 1)
	own := newAuthority(t)
	r.site("a", func(_ http.ResponseWriter, req *http.Request) { headers <- req.Header }, func(r *routes.Route) { r.ClientCA, r.ClientOptional = own.file, true })
	waitShape(t, r, func(s shape) bool { return len(s.clientAuth) == 1 })
	ours := []string{"Forwarded", "X-Client-Subject", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"}
	var forged []string
	for _, name := range ours {
		forged = append(forged, name, "forged", strings.ReplaceAll(name, "-", "_"), "forged", strings.ToUpper(strings.Replace(name, "-", ".", 1)), "forged")
	}
	forged = append(forged, "Connection", strings.Join(ours, ", "))
	for _, shown := range []bool{true, false} {
		c := r.client("1", func(c *tls.Config) {
			if shown {
				c.Certificates = []tls.Certificate{own.issue(t, "visitor")}
			}
		})
		r.ask(c, "https://a.example/", forged...)
		got := receive(t, "the request", headers)
		want := http.Header{
			"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Host": {"a.example"}, "X-Forwarded-Proto": {"https"}, "X-Real-Ip": {"127.0.0.1"},
			"Forwarded": {`for=127.0.0.1;host="a.example";proto=https`},
		}
		if shown {
			want["X-Client-Subject"] = []string{"CN=visitor"}
		}
		for name, values := range got {
			if strings.Contains(strings.Join(values, ""), "forged") {
				t.Errorf("the site got %s: %q", name, values)
			}
		}
		for name, values := range want {
			if strings.Join(got[name], "|") != strings.Join(values, "|") {
				t.Errorf("%s is %q, want %q", name, got[name], values)
			}
		}
		if !shown && got["X-Client-Subject"] != nil {
			t.Errorf("without a certificate the subject is %q", got["X-Client-Subject"])
		}
	}
}

// Only those who are trusted to send the PROXY protocol may; beside them, the next machine may not, by either version.
func TestProxyProtocolFromStrangers(t *testing.T) {
	r := start(t, options{conf: func(c *conf.Config) {
		c.Trusted.ProxyProtocol = []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")}
	}})
	r.site("a", echo, nil)
	const request = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"
	for _, header := range []string{
		"PROXY TCP4 192.0.2.7 192.0.2.8 1234 80\r\n",
		"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\xc0\x00\x02\x08\x04\xd2\x00\x50",
	} {
		for _, resp := range r.send(header + request) {
			if resp.StatusCode == http.StatusOK {
				t.Errorf("%q: the site was told of %s", header, resp.Header.Get("Saw-X-Forwarded-For"))
			}
		}
	}
	if answers := r.send(request); len(answers) != 1 || answers[0].Header.Get("Saw-X-Forwarded-For") != "127.0.0.1" {
		t.Errorf("without such a header: %v", answers)
	}
}

// A connection is for the site that its handshake was for. Others are asked for by one of their own, as browsers then do.
func TestConnectionsAreForOneSite(t *testing.T) {
	r := start(t, options{names: []string{"a.example", "www.a.example", "b.example"}})
	r.site("a", echo, func(r *routes.Route) { r.Domains = []string{"a.example", "www.a.example"} })
	r.site("b", echo, nil)
	for _, version := range []string{"1", "2", "3"} {
		c := r.client(version, func(c *tls.Config) { c.ServerName = "a.example" })
		for host, want := range map[string]int{"a.example": 200, "www.a.example": 200, "b.example": 421, "stranger.example": 421} {
			if got := r.ask(c, "https://"+host+"/"); got.status != want {
				t.Errorf("version %s, %s: %d, want %d", version, host, got.status, want)
			}
		}
	}
}

// Requests that are taken back at once, by the thousand on one connection, count like any other: the site sees no more than its
// share, nothing of them is left, and the neighbours are served.
func TestRapidReset(t *testing.T) {
	r := start(t, options{names: []string{"a.example", "b.example"}, conf: func(c *conf.Config) { c.Limits.Rate, c.Limits.Burst = 0.001, 20 }})
	var seen atomic.Int64
	r.site("a", func(_ http.ResponseWriter, r *http.Request) { seen.Add(1); <-r.Context().Done() }, nil)
	r.site("b", echo, nil)
	before := runtime.NumGoroutine()
	conn, err := tls.Dial("tcp", r.https, &tls.Config{RootCAs: r.ca.pool, ServerName: "a.example", NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	go io.Copy(io.Discard, conn) //nolint:errcheck // so that the gateway is never stopped by its own answers
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "a.example"}, {Name: ":path", Value: "/"}} {
		_ = enc.WriteField(f)
	}
	first := bytes.Clone(block.Bytes())
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	out := http2.NewFramer(conn, nil)
	err = out.WriteSettings()
	const streams = 5000
	for id := uint32(1); id < 2*streams && err == nil; id += 2 {
		err = errors.Join(out.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: first, EndStream: true, EndHeaders: true}),
			out.WriteRSTStream(id, http2.ErrCodeCancel))
	} // it may have been cut off
	if got := r.ask(r.client("2"), "https://b.example/"); got.status != 200 {
		t.Errorf("the neighbour: %d", got.status)
	}
	conn.Close()
	for deadline := time.Now().Add(patience); runtime.NumGoroutine() > before+100; {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines are left, there were %d", runtime.NumGoroutine(), before)
		}
		time.Sleep(time.Millisecond) //nolint:forbidigo // nothing announces it
	}
	if n := seen.Load(); n > 20 {
		t.Errorf("the site saw %d requests", n)
	}
}

// inPieces writes the first bytes one by one, so that each is a packet, and the rest in few: a busy machine, too, is done before
// the header's time is over.
type inPieces struct{ net.Conn }

func (c inPieces) Write(p []byte) (done int, err error) {
	for done < len(p) && err == nil {
		size := 1
		if done >= 16 {
			size = 256
		}
		var n int
		n, err = c.Conn.Write(p[done:min(done+size, len(p))])
		done += n
	}
	return done, err
}

// A ClientHello that never ends, is larger than any, names nobody, or is none costs a connection for a while and wakes nobody; one
// that is large, or comes in pieces, is served. All this also where connections are looked at for sites with passthrough.
func TestClientHellos(t *testing.T) {
	for _, forward := range []bool{false, true} {
		t.Run(fmt.Sprintf("passthrough=%v", forward), func(t *testing.T) {
			r := start(t, options{names: []string{"a.example"}, conf: func(c *conf.Config) { c.Limits.HeaderTimeout = 300 * time.Millisecond }})
			r.site("a", echo, nil)
			if forward {
				r.site("through", echo, func(r *routes.Route) { r.HTTPS = routes.Passthrough })
				waitShape(t, r, func(s shape) bool { return s.passthrough })
			}
			for name, text := range map[string]string{
				"silence":          "",
				"half a hello":     "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03half",
				"plain HTTP":       "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
				"a huge record":    "\x16\x03\x01\xff\xff\x01\x00\xff\xff" + strings.Repeat("x", 1<<16),
				"an endless hello": strings.Repeat("\x16\x03\x01\x40\x00\x01\xff\xff\xff"+strings.Repeat("x", 1<<14-4), 64),
				"nonsense":         strings.Repeat("\xff", 1000),
				"a zero length":    "\x16\x03\x01\x00\x00",
			} {
				conn, err := net.Dial("tcp", r.https)
				if err != nil {
					t.Fatal(err)
				}
				_ = conn.SetDeadline(time.Now().Add(patience))
				_, _ = io.WriteString(conn, text) // the gateway may have closed it by now
				if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s: the connection is kept", name)
				}
				conn.Close()
			}
			for _, name := range []string{"", "stranger.example", strings.Repeat("a.", 120) + "example"} {
				if c, err := tls.Dial("tcp", r.https, &tls.Config{ServerName: name, InsecureSkipVerify: true}); err == nil { //nolint:gosec // it is to fail before that
					t.Errorf("a handshake for %.20q succeeds", name)
					c.Close()
				}
			}
			r.nobody(t, "a hello for nobody")
			var many []string
			for i := range 400 {
				many = append(many, fmt.Sprintf("protocol-%020d", i))
			}
			for name, protocols := range map[string][]string{"in pieces": {"http/1.1"}, "large": append(many, "http/1.1")} {
				raw, err := net.Dial("tcp", r.https)
				if err != nil {
					t.Fatal(err)
				}
				_ = raw.SetDeadline(time.Now().Add(patience))
				to := raw
				if len(protocols) == 1 {
					to = inPieces{raw}
				}
				c := tls.Client(to, &tls.Config{RootCAs: r.ca.pool, ServerName: "a.example", NextProtos: protocols})
				if status, err := (visitor{host: "a.example"}).ask(c, bufio.NewReader(c)); err != nil || status != 200 {
					t.Errorf("a hello %s: %d, %v", name, status, err)
				}
				c.Close()
			}
		})
	}
}

// Headers have a limit in every version, and what is too long never reaches a site.
func TestHeaderLimits(t *testing.T) {
	r := start(t, options{names: []string{"a.example"}, conf: func(c *conf.Config) { c.Limits.HeaderBytes = 8 << 10 }})
	r.site("a", func(_ http.ResponseWriter, r *http.Request) {
		if len(r.Header.Get("X")) > 32<<10 {
			t.Error("it reached the site")
		}
	}, nil)
	for _, version := range []string{"1", "2", "3"} {
		c := r.client(version)
		req, _ := http.NewRequest(http.MethodGet, "https://a.example/", nil)
		req.Header.Set("X", strings.Repeat("x", 64<<10))
		resp, err := c.Do(req) // the connection may end before the answer is read
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("version %s: %s", version, resp.Status)
			}
		}
		if got := r.ask(r.client(version), "https://a.example/"); got.status != 200 {
			t.Errorf("version %s: afterwards %d", version, got.status)
		}
	}
}

// Front ends that are trusted bring many visitors and are no source; also where IPv4 comes in by an IPv6 socket.
func TestFrontEndsAreNoSource(t *testing.T) {
	g, err := New(func() conf.Config {
		c := conf.Default()
		c.Limits.Connections = 1
		c.Trusted.Headers = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		c.Trusted.ProxyProtocol = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		return c
	}(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "::ffff:192.0.2.1": true, "198.51.100.1": false, "::ffff:203.0.113.1": false,
	} {
		g.conns.enter(netip.MustParseAddr(addr))
		if _, ok := g.conns.enter(netip.MustParseAddr(addr)); ok != want {
			t.Errorf("a second connection of %s: %v", addr, ok)
		}
	}
}

// Early data, which whoever has recorded it can send again, is not taken: what comes with it waits for the handshake.
func TestNoEarlyData(t *testing.T) {
	r := start(t, options{names: []string{"a.example"}})
	r.site("a", echo, nil)
	cfg := &tls.Config{RootCAs: r.ca.pool, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for visit := range 2 {
		var conn *quic.Conn
		tr := &http3.Transport{TLSClientConfig: cfg, Dial: func(ctx context.Context, _ string, t *tls.Config, q *quic.Config) (c *quic.Conn, err error) {
			conn, err = quic.DialAddrEarly(ctx, r.https, t, q)
			return conn, err
		}}
		resp, err := (&http.Client{Transport: tr, Timeout: patience}).Do(&http.Request{
			Method: http3.MethodGet0RTT, URL: &url.URL{Scheme: "https", Host: "a.example", Path: "/"},
		})
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		state := conn.ConnectionState()
		if resp.StatusCode != http.StatusOK || state.Used0RTT || state.TLS.DidResume != (visit == 1) {
			t.Errorf("visit %d: %s, resumed %v, with early data %v", visit, resp.Status, state.TLS.DidResume, state.Used0RTT)
		}
		tr.Close()
	}
}
