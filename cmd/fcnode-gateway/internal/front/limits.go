package front

import (
	"math"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func init() { caddy.RegisterModule(new(limiter)) }

// sourceOf is whose an address counts as: an IPv4 address, or the /64 of an IPv6 address, which is one customer's.
func sourceOf(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, err := a.Prefix(64)
		if err == nil {
			return p.Addr()
		}
	}
	return a
}

// mayWake says whether a visitor may wake one more site that sleeps, as far as can be told, and else after how many seconds. To the
// node all of them are woken by this gateway, so they are bounded here: by network, an IPv4 /24 or an IPv6 /64.
func (g *Gateway) mayWake(a netip.Addr) (retryAfter int, ok bool) {
	a = a.Unmap()
	if p, err := a.Prefix(24); err == nil && a.Is4() {
		a = p.Addr()
	}
	return g.wakes.allow(a, "")
}

// isFrontEnd says whether an address is of a front end that tells of visitors by headers: whose its connections are, only requests
// tell.
func (g *Gateway) isFrontEnd(a netip.Addr) bool {
	a = a.Unmap()
	return slices.ContainsFunc(g.cfg.Trusted.Headers, func(p netip.Prefix) bool { return p.Contains(a) })
}

// connections counts the connections of each source, by TCP and QUIC together.
type connections struct {
	most   int            // 0: no limit
	exempt []netip.Prefix // front ends, which bring many visitors

	mu      sync.Mutex
	sources map[netip.Addr]int
}

// enter counts a connection, if its source may have one more.
func (c *connections) enter(a netip.Addr) (leave func(), ok bool) {
	if c.free(a) {
		return func() {}, true
	}
	source := sourceOf(a)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sources == nil {
		c.sources = map[netip.Addr]int{}
	}
	if c.sources[source] >= c.most {
		return nil, false
	}
	c.sources[source]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.sources[source]--; c.sources[source] == 0 {
			delete(c.sources, source)
		}
	}, true
}

// free says whether the address may have any number.
func (c *connections) free(a netip.Addr) bool {
	a = a.Unmap() // as IPv4 is seen by a listener for both
	return c.most == 0 || slices.ContainsFunc(c.exempt, func(p netip.Prefix) bool { return p.Contains(a) })
}

// full says whether the source of an address has as many as it may have.
func (c *connections) full(a netip.Addr) bool {
	if c.free(a) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sources[sourceOf(a)] >= c.most
}

// limiter closes connections of sources that have too many already.
type limiter struct{}

// CaddyModule implements caddy.Module.
func (*limiter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.listeners.fcnode", New: func() caddy.Module { return new(limiter) }}
}

// WrapListener implements caddy.ListenerWrapper.
func (*limiter) WrapListener(l net.Listener) net.Listener {
	return &limitedListener{Listener: l, connections: current.Load().conns}
}

type limitedListener struct {
	net.Listener
	connections *connections
}

// Accept implements net.Listener.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		tcp, ok := c.(*net.TCPConn)
		if !ok { // a unix socket, say: its peers have no address
			return c, nil
		}
		leave, ok := l.connections.enter(tcp.RemoteAddr().(*net.TCPAddr).AddrPort().Addr())
		if ok {
			return &limitedConn{TCPConn: tcp, leave: leave}, nil
		}
		_ = tcp.SetLinger(0) // keeps nothing of it
		tcp.Close()
	}
}

// limitedConn embeds the type, not the interface, so that what only a TCP connection can do stays possible.
type limitedConn struct {
	*net.TCPConn
	leave func()
	once  sync.Once
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	c.once.Do(c.leave)
	return c.TCPConn.Close()
}

// rates bounds the requests that a source makes of a site. Of each pair it keeps one time: when it will have been silent for
// long enough to have its whole burst again (GCRA).
type rates struct {
	each  time.Duration // between two requests at the rate; 0: no limit
	slack time.Duration // by which a burst may be ahead

	shards [64]rateShard
}

type rateShard struct {
	mu    sync.Mutex
	full  map[rateKey]time.Duration // since the epoch of the process
	sweep int                       // how many there may be before old ones are dropped
}

type rateKey struct {
	source netip.Addr
	site   string
}

const sweepFrom = 1024

var epoch = time.Now()

func newRates(perSecond float64, burst int) *rates {
	r := &rates{}
	if perSecond > 0 {
		r.each = time.Duration(float64(time.Second) / perSecond)
		r.slack = time.Duration(burst-1) * r.each
	}
	for i := range r.shards {
		r.shards[i].full, r.shards[i].sweep = map[rateKey]time.Duration{}, sweepFrom
	}
	return r
}

// allow says whether the source may make one more request of the site now, and else after how many seconds.
func (r *rates) allow(a netip.Addr, site string) (retryAfter int, ok bool) {
	if r.each == 0 {
		return 0, true
	}
	key := rateKey{source: sourceOf(a), site: site}
	bytes := key.source.As16()
	shard := &r.shards[(bytes[15]^bytes[14]^bytes[7]^bytes[6])%64]
	now := time.Since(epoch)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	full := max(shard.full[key], now)
	if ahead := full - now; ahead > r.slack {
		return int(math.Ceil((ahead - r.slack).Seconds())), false
	}
	shard.full[key] = full + r.each
	if len(shard.full) > shard.sweep {
		shard.drop(now)
	}
	return 0, true
}

// drop removes pairs that have their whole burst anyway.
func (s *rateShard) drop(now time.Duration) {
	for key, full := range s.full {
		if full <= now {
			delete(s.full, key)
		}
	}
	s.sweep = max(sweepFrom, 2*len(s.full))
}
