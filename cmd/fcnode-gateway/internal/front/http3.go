package front

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

const (
	// handshakesPerSecond is how many may begin before their sources have shown that the address is theirs, at the price of a
	// round trip.
	handshakesPerSecond = 1000
	// headersAtOnce is how many requests of a connection may have a header that has not come whole. For each there is memory of
	// the size that the header claims; those beyond wait.
	headersAtOnce = 8
	// wakesPerSecond and wakesAtOnce are how many sites may be woken by ClientHellos whose sources may be made up. Those beyond are
	// woken by the request.
	wakesPerSecond, wakesAtOnce = 16, 64
)

// quicServer serves HTTP/3, with the handler and the TLS configuration that Caddy has at the moment. Caddy's own server for it
// counts no connections by source, waits for a request's header for ever, and has visitors open other connections whenever its
// configuration changes.
type quicServer struct {
	conns         *connections
	headerTimeout time.Duration
	server        *http3.Server
	served        atomic.Pointer[served]
	// handshakes and wakes bound what can be had by packets with made-up sources, for all sources together.
	handshakes, wakes *rates

	sockets    []net.PacketConn
	transports []*quic.Transport
	listeners  []*quic.Listener
	// finish has connections end when the requests that are under way have ended.
	finish context.CancelFunc
	linger time.Duration
	// accepting are the loops that wait for connections, and open those that have come.
	accepting, open sync.WaitGroup
}

// served is what Caddy's configuration makes of the listeners.
type served struct {
	handler http.Handler
	tls     *tls.Config
}

func newQUICServer(g *Gateway) *quicServer {
	s := &quicServer{
		conns: g.conns, headerTimeout: g.cfg.Limits.HeaderTimeout, finish: func() {}, linger: lingerFor,
		handshakes: newRates(handshakesPerSecond, handshakesPerSecond), wakes: newRates(wakesPerSecond, wakesAtOnce),
	}
	s.server = &http3.Server{Handler: s, MaxHeaderBytes: g.cfg.Limits.HeaderBytes, IdleTimeout: g.cfg.Limits.IdleTimeout}
	return s
}

// use has requests answered, and handshakes made, as the server of Caddy does that has just been started.
func (s *quicServer) use(srv *caddyhttp.Server, cfg *tls.Config) {
	s.served.Store(&served{handler: srv, tls: cfg})
}

// bind takes the addresses.
func (s *quicServer) bind(addrs []string) error {
	for _, addr := range addrs {
		socket, err := net.ListenPacket("udp", addr)
		if err != nil {
			return fmt.Errorf("listen for HTTP/3: %w; another program may have the port, else set http3: false", err)
		}
		s.sockets = append(s.sockets, socket)
	}
	return nil
}

// start serves on the addresses that are bound.
func (s *quicServer) start() error {
	cfg := http3.ConfigureTLSConfig(&tls.Config{
		GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
			return s.served.Load().tls.GetConfigForClient(info)
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	s.finish = cancel
	for _, socket := range s.sockets {
		t := &quic.Transport{Conn: socket, ConnContext: s.admit, VerifySourceAddress: s.doubts}
		// Connections come when their handshakes have ended, so that they are counted for a source that has answered. Early data
		// is not taken: it can be sent again by whoever has seen it, and sites do not know which requests came so.
		l, err := t.Listen(cfg, &quic.Config{})
		if err != nil {
			return fmt.Errorf("listen for HTTP/3 on %s: %w", socket.LocalAddr(), err)
		}
		s.transports, s.listeners = append(s.transports, t), append(s.listeners, l)
		s.accepting.Go(func() {
			for {
				conn, err := l.Accept(context.Background())
				if err != nil {
					return // it is closed
				}
				s.open.Go(func() { s.serve(ctx, conn) })
			}
		})
	}
	return nil
}

// doubts says whether a source has to show that its address is its own before it costs a handshake.
func (s *quicServer) doubts(net.Addr) bool {
	_, ok := s.handshakes.allow(netip.IPv6Unspecified(), "")
	return !ok
}

// mayWake says whether a ClientHello may wake a site: it came by TCP, or from a source that has shown that the address is its own, or
// they are few.
func (s *quicServer) mayWake(ctx context.Context) bool {
	if a, ok := ctx.Value(arrivalsKey{}).(*arrivals); !ok || a.verified {
		return true
	}
	_, ok := s.wakes.allow(netip.IPv6Unspecified(), "")
	return ok
}

var errTooManyConnections = errors.New("the source has as many connections as it may have")

// admit refuses handshakes of sources that have as many connections as they may have already.
func (s *quicServer) admit(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	if s.conns.full(udpSource(info.RemoteAddr)) {
		return nil, errTooManyConnections
	}
	a := &arrivals{verified: info.AddrVerified}
	a.fewer.L = &a.mu
	return context.WithValue(ctx, arrivalsKey{}, a), nil
}

func udpSource(a net.Addr) netip.Addr { return a.(*net.UDPAddr).AddrPort().Addr() }

// serve answers the requests of a connection until it ends, or, once the context has, until those that are under way have ended.
// A visitor who changes the address counts for the first.
func (s *quicServer) serve(ctx context.Context, conn *quic.Conn) {
	leave, ok := s.conns.enter(udpSource(conn.RemoteAddr()))
	if !ok {
		_ = conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeExcessiveLoad), "too many connections")
		return
	}
	defer leave()
	c, err := s.server.NewRawServerConn(conn)
	if err != nil { // its settings leave no room for ours
		_ = conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeStreamCreationError), "")
		return
	}
	go func() {
		for {
			str, err := conn.AcceptUniStream(conn.Context())
			if err != nil {
				return
			}
			go c.HandleUnidirectionalStream(str)
		}
	}()
	var requests sync.WaitGroup
	headers := conn.Context().Value(arrivalsKey{}).(*arrivals)
	for {
		str, err := conn.AcceptStream(ctx)
		if err != nil {
			break
		}
		headers.begin()
		_ = str.SetReadDeadline(time.Now().Add(s.headerTimeout)) // until the body is read, which sets its own
		requests.Go(func() {
			defer headers.end()
			c.HandleRequestStream(str)
		})
	}
	if conn.Context().Err() == nil {
		go refuseStreams(conn)
		requests.Wait()
		s.awaitEnd(conn, headers)
		_ = c.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
	}
	requests.Wait()
}

// refuseStreams says of further requests that they have not been looked at and can be sent again.
func refuseStreams(conn *quic.Conn) {
	for {
		str, err := conn.AcceptStream(conn.Context())
		if err != nil {
			return
		}
		str.CancelRead(quic.StreamErrorCode(http3.ErrCodeRequestRejected))
		str.CancelWrite(quic.StreamErrorCode(http3.ErrCodeRequestRejected))
	}
}

// lingerFor is how long a connection is kept after its last answer when the gateway ends, unless a test has it longer: what is under
// way, or not read yet, when a connection is closed is dropped by both ends.
const lingerFor = 500 * time.Millisecond

// awaitEnd waits until the visitor has closed the connection, or has had the time to read the last answer.
func (s *quicServer) awaitEnd(conn *quic.Conn, headers *arrivals) {
	select {
	case <-conn.Context().Done():
	case <-time.After(s.linger - headers.sinceLast()):
	}
}

// ServeHTTP implements http.Handler: a header has come whole.
func (s *quicServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	headers := r.Context().Value(arrivalsKey{}).(*arrivals)
	headers.end()
	defer headers.again()
	s.served.Load().handler.ServeHTTP(w, r)
}

// drain closes the listeners, and lets the requests that are under way end: open says when they have.
func (s *quicServer) drain() {
	for _, l := range s.listeners {
		_ = l.Close()
	}
	s.accepting.Wait()
	s.finish()
}

// close ends all connections.
func (s *quicServer) close() error {
	var errs []error
	for _, t := range s.transports {
		errs = append(errs, t.Close())
	}
	for _, socket := range s.sockets {
		errs = append(errs, socket.Close())
	}
	s.sockets, s.transports, s.listeners = nil, nil, nil
	return errors.Join(errs...)
}

// arrivals counts the requests of a connection whose header has not come whole: streams that are being handled, less those that
// the handler has.
type arrivals struct {
	verified bool // whether the source had shown that the address is its own before the handshake

	mu    sync.Mutex
	n     int
	fewer sync.Cond
	last  time.Time // when the handler has ended last
}

type arrivalsKey struct{}

// begin waits until there may be one more.
func (a *arrivals) begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.n >= headersAtOnce {
		a.fewer.Wait()
	}
	a.n++
}

func (a *arrivals) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.n--
	a.fewer.Signal()
}

// again takes back the end of one whose stream ends as well.
func (a *arrivals) again() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.n++
	a.last = time.Now()
}

// sinceLast is how long ago the last request has ended.
func (a *arrivals) sinceLast() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return time.Since(a.last)
}

// altServices are what offers HTTP/3 to those who have come to a port by another version.
func altServices(addrs []string) map[int][]string {
	out := map[int][]string{}
	for _, addr := range addrs {
		_, text, _ := net.SplitHostPort(addr)
		if port, err := strconv.Atoi(text); err == nil {
			out[port] = []string{fmt.Sprintf(`h3=":%d"; ma=2592000`, port)}
		}
	}
	return out
}

// offerHTTP3 says that HTTP/3 is to be had as well. Those who come by a front end are its visitors, and what it offers is its own.
func (g *Gateway) offerHTTP3(w http.ResponseWriter, r *http.Request) {
	if r.TLS == nil || r.ProtoMajor >= 3 || trusted(r) {
		return
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok && g.altSvc[local.Port] != nil {
		w.Header()["Alt-Svc"] = g.altSvc[local.Port]
	}
}
