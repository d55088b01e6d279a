package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/conf"
	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/routes"
)

// shape is what Caddy's own configuration depends on besides the gateway's: all else of a site is looked up in the table.
type shape struct {
	clientAuth  []clientAuth
	passthrough bool
}

// Gateway serves the sites of a table.
type Gateway struct {
	Table *routes.Table

	cfg   conf.Config
	log   *slog.Logger
	pages *pages
	rates *rates
	wakes *rates
	conns *connections
	http3 *quicServer
	// sockets are those by TCP, by their addresses.
	sockets map[string]*socket
	// altSvc offers HTTP/3, by the port that a visitor has come to.
	altSvc map[int][]string
	active active
	rests  rests
	// account is that with the authority.
	account account
	// dial opens the connection that wakes a site.
	dial    func(network, addr string) (net.Conn, error)
	warmFor time.Duration
	// stopFor is how long Stop waits for requests.
	stopFor     time.Duration
	firstWithin time.Duration

	// authorities are those whose certificates visitors may show, as Caddy has them.
	authorities atomic.Pointer[authorities]

	mu    sync.Mutex // guards what follows, and that Caddy is given one configuration at a time
	shape shape
	news  chan struct{}
}

// current is the gateway of the process, for the modules that Caddy makes.
var current atomic.Pointer[Gateway]

// New returns a gateway that does not listen yet.
func New(cfg conf.Config, log *slog.Logger) (*Gateway, error) {
	p, err := loadPages(cfg.Pages)
	if err != nil {
		return nil, err
	}
	g := &Gateway{
		cfg: cfg, log: log, pages: p,
		rates:       newRates(cfg.Limits.Rate, cfg.Limits.Burst),
		wakes:       newRates(cfg.Limits.WakeRate, cfg.Limits.Wakes),
		conns:       &connections{most: cfg.Limits.Connections, exempt: slices.Concat(cfg.Trusted.ProxyProtocol, cfg.Trusted.Headers)},
		account:     account{storage: filepath.Join(cfg.StateDir, "certificates")},
		warmFor:     warmFor,
		stopFor:     stopFor,
		firstWithin: firstWithin,
		sockets:     map[string]*socket{},
		news:        make(chan struct{}, 1),
	}
	g.dial = func(network, addr string) (net.Conn, error) { return g.dialer(addr).Dial(network, addr) }
	g.http3 = newQUICServer(g)
	if cfg.HTTP3 {
		g.altSvc = altServices(cfg.HTTPS)
	}
	g.Table = &routes.Table{NewState: func() any { return newUpstream(g.dial, g.warmFor) }}
	return g, nil
}

// dialer opens connections to an address of a site.
func (g *Gateway) dialer(addr string) *net.Dialer {
	d := &net.Dialer{Timeout: g.cfg.Wake.Timeout}
	to, err := netip.ParseAddrPort(addr)
	if source := g.cfg.Source; source.IsValid() && err == nil && source.Is4() == to.Addr().Is4() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
		d.Control = portAtConnect
	}
	return d
}

// bindAddressNoPort is IP_BIND_ADDRESS_NO_PORT of ip(7), which package syscall does not have.
const bindAddressNoPort = 24

// portAtConnect has the kernel choose the port of a bound socket when it connects and not when it is bound: where it goes to is
// not known at bind(2), so that each port could be in use, or in TIME_WAIT, once for all sites together.
func portAtConnect(_, _ string, conn syscall.RawConn) error {
	var err error
	controlled := conn.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_IP, bindAddressNoPort, 1) // of IPv6 sockets, too
	})
	if err := errors.Join(controlled, err); err != nil {
		return fmt.Errorf("leaving the port open until connect: %w", err)
	}
	return nil
}

// Start listens and serves. Stop ends it.
func (g *Gateway) Start() error {
	current.Store(g)
	g.dropLocks()
	if err := g.start(); err != nil {
		g.closeSockets()
		return errors.Join(err, caddy.Stop(), g.http3.close())
	}
	return nil
}

func (g *Gateway) start() error {
	if err := g.bindTCP(slices.Concat(g.cfg.HTTP, g.cfg.HTTPS)); err != nil {
		return err
	}
	if g.cfg.HTTP3 { // whoever reads that Caddy is ready shall find this bound
		if err := g.http3.bind(g.cfg.HTTPS); err != nil {
			return err
		}
	}
	if err := g.load(true); err != nil {
		return err
	}
	return g.http3.start()
}

func (g *Gateway) closeSockets() {
	for _, s := range g.sockets {
		_ = s.Close()
	}
}

// stopFor is how long requests may take that are under way when the gateway ends, unless a test gives them longer. Nobody listens
// meanwhile.
const stopFor = 3 * time.Second

// firstWithin is how long a connection may take from when it was accepted to its first request where Caddy is given another
// configuration meanwhile, or the gateway ends, unless a test says otherwise.
const firstWithin = 500 * time.Millisecond

// Stop closes the listeners and waits for the requests that are under way, but not for ever. Connections that were upgraded or are
// forwarded are not waited for.
func (g *Gateway) Stop() error {
	g.closeSockets()
	g.http3.drain()
	stopped := make(chan error, 1)
	go func() {
		err := caddy.Stop() // which waits for nobody, unless Caddy itself ends the process
		g.http3.open.Wait()
		<-g.active.none()
		stopped <- err
	}()
	var err error
	select {
	case err = <-stopped:
	case <-time.After(g.stopFor):
		g.log.Warn("requests were cut off because the gateway stops", "after", g.stopFor)
	}
	return errors.Join(err, g.http3.close())
}

// Reload reads certificates and authorities anew, and lets those be issued again that could not be had. Where reading fails, what
// was read before stays in use.
func (g *Gateway) Reload() error {
	g.rests.clear()
	return g.load(true)
}

// Changed says that the table has changed.
func (g *Gateway) Changed() {
	select {
	case g.news <- struct{}{}:
	default:
	}
}

// quiet is how long changes are collected before Caddy is configured anew for them.
const quiet = 50 * time.Millisecond

// Run gives Caddy another configuration whenever changes of the table ask for one, until the context ends.
func (g *Gateway) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.news:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(quiet):
		}
		if err := g.load(false); err != nil {
			g.log.Error("sites that need another configuration are not served as they ask", "error", err)
		}
	}
}

// load gives Caddy its configuration: always, or if another is needed than it has.
func (g *Gateway) load(always bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	want, issuers := g.want()
	if !always && slices.Equal(want.clientAuth, g.shape.clientAuth) && want.passthrough == g.shape.passthrough {
		return nil
	}
	text, err := g.caddyConfig(want)
	if err != nil {
		return err
	}
	if err := caddy.Load(text, true); err != nil {
		return fmt.Errorf("configure the server: %w", err)
	}
	g.authorities.Store(&issuers)
	if err := g.handOver(); err != nil {
		return err
	}
	g.shape = want
	return nil
}

// handOver has HTTP/3 served by what Caddy has just been given.
func (g *Gateway) handOver() error {
	if !g.cfg.HTTP3 || len(g.cfg.HTTPS) == 0 {
		return nil
	}
	ctx := caddy.ActiveContext()
	app, err := ctx.App("http")
	if err != nil {
		return fmt.Errorf("find the server for HTTP/3: %w", err)
	}
	srv := app.(*caddyhttp.App).Servers["https"]
	g.http3.use(srv, srv.TLSConnPolicies.TLSConfig(ctx))
	return nil
}

// want says what the sites need of Caddy's configuration, and whose certificates it will then accept.
func (g *Gateway) want() (shape, authorities) {
	seen := map[clientAuth]bool{}
	var out shape
	issuers := authorities{}
	for _, s := range g.Table.Sites() {
		if g.https(s) == routes.Passthrough {
			out.passthrough = true
		}
		auth := authOf(s)
		if auth.CA == "" || seen[auth] {
			continue
		}
		seen[auth] = true
		certs, err := readCA(auth.CA)
		if err != nil {
			g.log.Error("a site whose client certificates cannot be checked is not served", "site", s.Site, "error", err)
			continue
		}
		issuers[auth.CA] = certs
		out.clientAuth = append(out.clientAuth, auth)
	}
	slices.SortFunc(out.clientAuth, func(a, b clientAuth) int {
		return strings.Compare(fmt.Sprint(a.CA, a.Optional), fmt.Sprint(b.CA, b.Optional))
	})
	return out, issuers
}

// https is how a site is served, with the default filled in.
func (g *Gateway) https(s *routes.Site) string {
	switch {
	case s.HTTPS != "":
		return s.HTTPS
	case s.ClientCA != "":
		return routes.Redirect // plain HTTP would ask for no certificate
	case len(g.cfg.HTTPS) == 0:
		return routes.Off
	}
	return g.cfg.DefaultHTTPS
}

func upstreamOf(s *routes.Site) *upstream { return s.State.(*upstream) }
