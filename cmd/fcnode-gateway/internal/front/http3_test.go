package front

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"

	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/conf"
	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/routes"
)

// udpFrom is a socket of an address of the loopback device.
func udpFrom(t *testing.T, addr string) net.PacketConn {
	t.Helper()
	socket, err := net.ListenPacket("udp", net.JoinHostPort(addr, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	return socket
}

// raw opens a QUIC connection for a.example that pings, on which nothing is said yet.
func (r *rig) raw(socket net.PacketConn) (*quic.Conn, error) {
	to, err := net.ResolveUDPAddr("udp", r.https)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return (&quic.Transport{Conn: socket}).Dial(ctx, to, &tls.Config{RootCAs: r.ca.pool, ServerName: "a.example", NextProtos: []string{http3.NextProtoH3}},
		&quic.Config{KeepAlivePeriod: 20 * time.Millisecond})
}

func (r *rig) mustRaw(socket net.PacketConn) *quic.Conn {
	r.t.Helper()
	conn, err := r.raw(socket)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.CloseWithError(0, "") })
	return conn
}

// talk makes the first request over a connection.
func talk(t *testing.T, conn *quic.Conn) (status int, err error) {
	t.Helper()
	return talkOn(t, new(http3.Transport).NewClientConn(conn))
}

func talkOn(t *testing.T, c *http3.ClientConn) (status int, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://a.example/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// A source's connections by TCP and QUIC count together. One too many is closed, and said why; handshakes that nobody ends, as
// with made-up addresses, count for nobody.
func TestQUICConnectionsPerSource(t *testing.T) {
	r := start(t, options{names: []string{"a.example"}, conf: func(c *conf.Config) { c.Limits.Connections = 2 }})
	r.site("a", echo, nil)
	to, err := net.ResolveUDPAddr("udp", r.https)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		r.hello(to, "a.example")
	}
	receive(t, "a hello of those who listen to nothing", r.dialed)
	tcp, err := net.Dial("tcp", r.http)
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	first := r.mustRaw(udpFrom(t, "127.0.0.1"))
	if status, err := talk(t, first); status != 200 || err != nil {
		t.Fatalf("the second connection: %d, %v", status, err)
	}
	var refused *quic.TransportError
	if _, err := r.raw(udpFrom(t, "127.0.0.1")); !errors.As(err, &refused) || refused.ErrorCode != quic.ConnectionRefused {
		t.Errorf("a third connection: %v", err)
	}
	if status, err := talk(t, r.mustRaw(udpFrom(t, "127.0.0.2"))); status != 200 || err != nil {
		t.Errorf("another source: %d, %v", status, err)
	}
	tcp.Close()
	_ = first.CloseWithError(0, "")
	waitCount(t, r, "127.0.0.1", 0)
	// Of many that come at a time, so that none is refused before its handshake, as many are served as may be.
	var served, excessive atomic.Int64
	var all sync.WaitGroup
	release := make(chan struct{})
	for range 20 {
		socket := udpFrom(t, "127.0.0.1")
		all.Go(func() {
			conn, err := r.raw(socket)
			if err != nil {
				excessive.Add(1)
				return
			}
			defer conn.CloseWithError(0, "") //nolint:errcheck // it may be closed
			status, err := talk(t, conn)
			var why *quic.ApplicationError
			switch {
			case err == nil && status == 200:
				served.Add(1)
				<-release
			case errors.As(err, &why) && why.ErrorCode == quic.ApplicationErrorCode(http3.ErrCodeExcessiveLoad):
				excessive.Add(1)
			default:
				excessive.Add(1)
				t.Errorf("a connection of many: %d, %v", status, err)
			}
		})
	}
	for deadline := time.Now().Add(patience); served.Load()+excessive.Load() < 20; {
		if time.Now().After(deadline) {
			t.Fatalf("%d are served, %d refused, of 20", served.Load(), excessive.Load())
		}
		time.Sleep(time.Millisecond) //nolint:forbidigo // nothing announces it
	}
	close(release)
	all.Wait()
	if served.Load() != 2 {
		t.Errorf("%d of them are served", served.Load())
	}
	waitCount(t, r, "127.0.0.1", 0)
}

// hello begins a handshake and listens to nothing, as one does who has made up the address.
func (r *rig) hello(to net.Addr, name string) {
	r.t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		deaf := &quic.Transport{Conn: deafConn{socket}}
		_, _ = deaf.Dial(ctx, to, &tls.Config{ServerName: name, NextProtos: []string{http3.NextProtoH3}}, nil)
	}()
	r.t.Cleanup(func() { cancel(); socket.Close(); <-ended })
}

// Packets with made-up addresses wake few sites: others are woken by those who ask for something.
func TestQUICHellosWakeFew(t *testing.T) {
	r := start(t, options{names: []string{"a.example"}})
	to, err := net.ResolveUDPAddr("udp", r.https)
	if err != nil {
		t.Fatal(err)
	}
	r.http3.wakes = newRates(0.001, wakesAtOnce)
	r.site("a", echo, nil)
	for i := range 2 * wakesAtOnce {
		name := fmt.Sprintf("s%d", i)
		r.site(name, echo, nil)
		r.hello(to, name+".example")
	}
	for range wakesAtOnce {
		receive(t, "a wake", r.dialed)
	}
	if got := r.ask(r.client("3"), "https://a.example/"); got.status != 200 {
		t.Errorf("a visitor: %d", got.status)
	}
	a := upstreamAddr(r, "a.example")
	if got := receive(t, "the visitor's wake", r.dialed); got != a {
		t.Errorf("%s is woken, a is %s", got, a)
	}
	r.nobody(t, "one hello too many")
}

// deafConn gets no packets.
type deafConn struct{ net.PacketConn }

func (c deafConn) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		if n, from, err := c.PacketConn.ReadFrom(p); err != nil {
			return n, from, err
		}
	}
}

// waitCount waits until a source has as many connections.
func waitCount(t *testing.T, r *rig, source string, want int) {
	t.Helper()
	got := -1
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		r.conns.mu.Lock()
		got = r.conns.sources[netip.MustParseAddr(source)]
		r.conns.mu.Unlock()
		if got == want {
			return
		}
		time.Sleep(time.Millisecond) //nolint:forbidigo // nothing announces it
	}
	t.Fatalf("%s has %d connections, want %d", source, got, want)
}

// Front ends that are trusted have any number of connections by QUIC, too.
func TestQUICFrontEndsAreNoSource(t *testing.T) {
	r := start(t, options{names: []string{"a.example"}, conf: func(c *conf.Config) {
		c.Limits.Connections, c.Trusted.Headers = 1, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}})
	r.site("a", echo, nil)
	for range 3 {
		if status, err := talk(t, r.mustRaw(udpFrom(t, "127.0.0.1"))); status != 200 || err != nil {
			t.Errorf("%d, %v", status, err)
		}
	}
}

// A visitor who goes on from another address, as telephones do, keeps the connection, which counts for the first address; the
// site learns of the new one.
func TestQUICMigration(t *testing.T) {
	r := start(t, options{names: []string{"a.example"}, conf: func(c *conf.Config) { c.Limits.Connections = 1 }})
	from := make(chan string, 10)
	r.site("a", func(_ http.ResponseWriter, r *http.Request) { from <- r.Header.Get("X-Forwarded-For") }, nil)
	conn := r.mustRaw(udpFrom(t, "127.0.0.1"))
	c := new(http3.Transport).NewClientConn(conn)
	visit := func() string {
		t.Helper()
		if status, err := talkOn(t, c); status != 200 || err != nil {
			t.Fatalf("%d, %v", status, err)
		}
		return receive(t, "the visit", from)
	}
	if got := visit(); got != "127.0.0.1" {
		t.Errorf("the site sees %s", got)
	}
	tr := &quic.Transport{Conn: udpFrom(t, "127.0.0.2")}
	defer tr.Close()
	path, err := conn.AddPath(tr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := path.Probe(ctx); err != nil {
		t.Fatal(err)
	}
	if err := path.Switch(); err != nil {
		t.Fatal(err)
	}
	for visit() != "127.0.0.2" { // the first packets may still be on the old path
	}
	waitCount(t, r, "127.0.0.1", 1)
	waitCount(t, r, "127.0.0.2", 0)
	if conn, err := r.raw(udpFrom(t, "127.0.0.1")); err == nil {
		t.Error("the first address has another connection")
		_ = conn.CloseWithError(0, "")
	}
	_ = conn.CloseWithError(0, "")
	waitCount(t, r, "127.0.0.1", 0)
}

// begun is the begin of a request: a HEADERS frame that claims to be long.
func begun(claims uint64) []byte {
	return append(quicvarint.Append(quicvarint.Append(nil, 1), claims), "half"...)
}

// Whoever sends a header over HTTP/3 too slowly is cut off, however lively the connection is, and no site hears of it. Of requests
// whose header has not come whole few at a time cost memory; others on the connection are answered all the same.
func TestSlowHeadersByQUIC(t *testing.T) {
	r := start(t, options{names: []string{"a.example"}, conf: func(c *conf.Config) {
		c.Limits.HeaderTimeout, c.Wake.AtRequest = 200*time.Millisecond, true
	}})
	r.site("a", echo, nil)
	conn := r.mustRaw(udpFrom(t, "127.0.0.1"))
	var slow []*quic.Stream
	for range 3 * headersAtOnce {
		str, err := conn.OpenStream()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := str.Write(begun(60_000)); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, str)
	}
	silent, err := conn.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := silent.Write([]byte{1}); err != nil { // not even the length
		t.Fatal(err)
	}
	r.nobody(t, "half a header")
	if status, err := talk(t, conn); status != 200 || err != nil {
		t.Errorf("a whole header beside them: %d, %v", status, err)
	}
	for i, str := range append(slow, silent) {
		_ = str.SetReadDeadline(time.Now().Add(patience))
		var reset *quic.StreamError
		if _, err := str.Read(make([]byte, 1)); !errors.As(err, &reset) {
			t.Errorf("header %d that never ends: %v", i, err)
		}
	}
	if conn.Context().Err() != nil {
		t.Errorf("the connection ended: %v", context.Cause(conn.Context()))
	}
	// There is an end to how many a connection may begin.
	opened := 0
	for ; opened < 1000; opened++ {
		str, err := conn.OpenStream()
		if err != nil {
			break
		}
		_, _ = str.Write(begun(60_000))
	}
	if opened > 100 {
		t.Errorf("%d requests at a time on a connection", opened)
	}
}

// Headers are waited for by few at a time, and each counts once, whatever becomes of it.
func TestArrivals(t *testing.T) {
	a := new(arrivals)
	a.fewer.L = &a.mu
	for range headersAtOnce {
		a.begin()
	}
	next := make(chan struct{})
	go func() { a.begin(); close(next) }()
	select {
	case <-next:
		t.Fatal("one too many")
	case <-time.After(20 * time.Millisecond):
	}
	a.end() // one of them has come whole
	receive(t, "room", next)
	a.again() // the handler is done with it
	a.end()   // and so is its stream
	for range headersAtOnce {
		a.end()
	}
	if a.n != 0 {
		t.Errorf("%d are left", a.n)
	}
}

// Neither pings nor control streams keep a connection on which nothing is asked.
func TestQUICConnectionsEnd(t *testing.T) {
	r := start(t, options{names: []string{"a.example"}, conf: func(c *conf.Config) { c.Limits.IdleTimeout = 200 * time.Millisecond }})
	r.site("a", echo, nil)
	for _, asked := range []bool{false, true} {
		conn := r.mustRaw(udpFrom(t, "127.0.0.1"))
		if asked {
			if status, err := talk(t, conn); status != 200 || err != nil {
				t.Fatalf("%d, %v", status, err)
			}
		} else {
			for range 3 {
				if str, err := conn.OpenUniStream(); err == nil {
					_, _ = str.Write([]byte{0x21}) // of a type that nobody knows
				}
			}
		}
		receive(t, "the end of a connection", conn.Context().Done())
	}
	waitCount(t, r, "127.0.0.1", 0)
}

// Requests over HTTP/3 that are taken back at once count like any other, and leave nothing.
func TestRapidResetByQUIC(t *testing.T) {
	r := start(t, options{names: []string{"a.example", "b.example"}, conf: func(c *conf.Config) { c.Limits.Rate, c.Limits.Burst = 0.001, 20 }})
	var seen atomic.Int64
	r.site("a", func(_ http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		_, _ = io.Copy(io.Discard, r.Body) // Go's server tells of the end only of a request that it has read
		<-r.Context().Done()
	}, nil)
	r.site("b", echo, nil)
	conn := r.mustRaw(udpFrom(t, "127.0.0.1"))
	c := new(http3.Transport).NewClientConn(conn)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range 2000 {
		str, err := c.OpenRequestStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://a.example/", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = str.SendRequestHeader(req)
		str.CancelRead(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
		str.CancelWrite(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
	}
	if got := r.ask(r.client("3"), "https://b.example/"); got.status != 200 {
		t.Errorf("the neighbour: %d", got.status)
	}
	_ = conn.CloseWithError(0, "")
	waitCount(t, r, "127.0.0.1", 1) // the neighbour's
	if n := seen.Load(); n > 20 {
		t.Errorf("the site saw %d requests", n)
	}
}

// HTTP/3 is offered to those who come by TLS, at the port that they have come to, and to nobody where it is not served or a front
// end stands before it.
func TestHTTP3IsOffered(t *testing.T) {
	second := freeAddr(t)
	offers := func(t *testing.T, r *rig, want map[string]string) {
		t.Helper()
		for what, header := range want {
			version, addr, _ := strings.Cut(what, " ")
			c := r.client(version)
			saved := r.https
			if addr == "second" {
				r.https = second
			}
			scheme := "https"
			if addr == "plain" {
				scheme = "http"
			}
			got := r.ask(c, scheme+"://a.example/")
			r.https = saved
			if alt := strings.Join(got.header.Values("Alt-Svc"), "|"); alt != header || got.status != 200 {
				t.Errorf("version %s: %d, Alt-Svc is %q, want %q", what, got.status, alt, header)
			}
		}
	}
	at := func(addr string) string { return fmt.Sprintf(`h3=":%d"; ma=2592000`, portNumber(t, addr)) }
	// What sites offer is for those who reach them at their own address.
	site := func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Alt-Svc", `h3=":1"`) }
	t.Run("two addresses", func(t *testing.T) {
		r := start(t, options{names: []string{"a.example"}, conf: func(c *conf.Config) { c.HTTPS = append(c.HTTPS, second) }})
		r.site("a", site, nil)
		offers(t, r, map[string]string{
			"1 ": at(r.https), "2 ": at(r.https), "3 ": "", "1 plain": "", "1 second": at(second), "2 second": at(second), "3 second": "",
		})
	})
	t.Run("IPv6", func(t *testing.T) {
		l, err := net.Listen("tcp", "[::1]:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().String()
		l.Close()
		r := start(t, options{names: []string{"a.example"}, conf: func(c *conf.Config) {
			c.HTTPS = []string{addr}
			c.Limits.Connections = 2
		}})
		r.https = addr
		r.site("a", site, nil)
		offers(t, r, map[string]string{"2 ": at(addr), "3 ": ""})
		waitCount(t, r, "::", 2) // of ::1/64
	})
	t.Run("front end", func(t *testing.T) {
		r := start(t, options{names: []string{"a.example"}, conf: func(c *conf.Config) {
			c.Trusted.Headers = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		}})
		r.site("a", site, nil)
		offers(t, r, map[string]string{"1 ": "", "2 ": "", "3 ": ""})
	})
	t.Run("off", func(t *testing.T) {
		r := start(t, options{names: []string{"a.example"}, conf: func(c *conf.Config) { c.HTTP3 = false }})
		r.site("a", site, nil)
		offers(t, r, map[string]string{"1 ": "", "2 ": ""})
		socket, err := net.ListenPacket("udp", r.https)
		if err != nil {
			t.Fatalf("the port is taken: %v", err)
		}
		socket.Close()
	})
}

// A port that another program has is told, and nothing is left of the start.
func TestHTTP3WithoutItsPort(t *testing.T) {
	taken, err := net.ListenPacket("udp", freeAddr(t)) // that is nobody's by TCP
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cfg := conf.Default()
	cfg.HTTP, cfg.HTTPS, cfg.StateDir = nil, []string{taken.LocalAddr().String()}, t.TempDir()
	g, err := New(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Start(); err == nil || !strings.Contains(err.Error(), "http3: false") {
		t.Errorf("the error is %v", err)
	}
	l, err := net.Listen("tcp", taken.LocalAddr().String())
	if err != nil {
		t.Fatalf("the port for TCP is taken: %v", err)
	}
	l.Close()
}

// A visitor by HTTP/3 keeps the connection, and the answer that is under way, when Caddy is given another configuration.
func TestReloadsKeepQUIC(t *testing.T) {
	r := start(t, options{names: []string{"a.example"}})
	half, rest := make(chan struct{}), make(chan struct{})
	r.site("a", func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/" {
			return
		}
		fmt.Fprint(w, "half")
		_ = http.NewResponseController(w).Flush()
		close(half)
		<-rest
		fmt.Fprint(w, "rest")
	}, nil)
	conn := r.mustRaw(udpFrom(t, "127.0.0.1"))
	c := new(http3.Transport).NewClientConn(conn)
	ask := func(path string) (status int, body io.Reader) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://a.example"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp.StatusCode, resp.Body
	}
	_, long := ask("/long")
	receive(t, "half of an answer", half)
	r.site("through", echo, func(r *routes.Route) { r.HTTPS = routes.Passthrough }) // which needs another configuration
	waitShape(t, r, func(s shape) bool { return s.passthrough })
	if err := r.Reload(); err != nil {
		t.Fatal(err)
	}
	if status, _ := ask("/"); status != http.StatusOK {
		t.Errorf("afterwards: %d", status)
	}
	close(rest)
	if text, err := io.ReadAll(long); string(text) != "halfrest" || err != nil {
		t.Errorf("the answer is %q, %v", text, err)
	}
}

// When the gateway ends, requests that are under way get their answers, whatever the version, and others are not begun.
func TestStop(t *testing.T) {
	r := start(t, options{names: []string{"a.example"}})
	r.stopFor, r.http3.linger = patience, patience
	const visitors = 3
	begin, end := make(chan struct{}, visitors), make(chan struct{})
	r.site("a", func(w http.ResponseWriter, _ *http.Request) {
		begin <- struct{}{}
		<-end
		_, _ = io.CopyN(w, zeros{}, 1<<20)
	}, nil)
	var all sync.WaitGroup
	for _, version := range []string{"1", "2", "3"} {
		c := r.client(version)
		all.Go(func() {
			if got := r.ask(c, "https://a.example/"); got.status != 200 || len(got.body) != 1<<20 {
				t.Errorf("version %s: %d with %d bytes", version, got.status, len(got.body))
			}
			c.CloseIdleConnections()
		})
		receive(t, "a request by version "+version, begin)
	}
	idle := r.mustRaw(udpFrom(t, "127.0.0.1"))
	stopped := make(chan error, 1)
	go func() { stopped <- r.Stop() }()
	receive(t, "the end of a connection without requests", idle.Context().Done())
	for deadline := time.Now().Add(patience); ; {
		conn, err := net.Dial("tcp", r.https)
		if err != nil {
			break
		}
		conn.Close()
		if time.Now().After(deadline) {
			t.Fatal("it still listens")
		}
	}
	select {
	case err := <-stopped:
		t.Errorf("it stopped while requests were under way: %v", err)
	default:
	}
	close(end)
	if err := receive(t, "the end", stopped); err != nil {
		t.Error(err)
	}
	all.Wait()
	if strings.Contains(r.log.String(), "cut off") {
		t.Errorf("requests were cut off:\n%s", r.log)
	}
}
