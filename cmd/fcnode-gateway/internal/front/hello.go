package front

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/routes"
)

func init() {
	caddy.RegisterModule(new(hello))
	caddy.RegisterModule(new(passthroughHello))
	caddy.RegisterModule(permission{})
}

// acmeProtocol is how an authority says that it only looks for a certificate (RFC 8737).
const acmeProtocol = "acme-tls/1"

// hello lets a TLS handshake begin for a domain of a site, and has the site woken meanwhile.
type hello struct {
	clientAuth
}

// CaddyModule implements caddy.Module.
func (*hello) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tls.handshake_match.fcnode", New: func() caddy.Module { return new(hello) }}
}

// Match implements caddytls.ConnectionMatcher.
func (h *hello) Match(info *tls.ClientHelloInfo) bool {
	g := current.Load()
	site := g.bySNI(info)
	if site == nil || authOf(site) != h.clientAuth {
		return false
	}
	if mode := g.https(site); mode != routes.Redirect && mode != routes.Both {
		return false
	}
	// Whether a request is to be ignored is known when it has come, and an authority's handshake brings none.
	if site.Ignore == nil && !slices.Contains(info.SupportedProtos, acmeProtocol) && site.Upstream() != "" && !g.cfg.Wake.AtRequest {
		if u := upstreamOf(site); u.asleep() && g.wakesAtHello(info) {
			u.begin(site.Upstream())
		}
	}
	return true
}

// wakesAtHello says whether a site is woken before the visitor's request. Who sends a packet by QUIC may have made up the address:
// another's share is not taken by that.
func (g *Gateway) wakesAtHello(info *tls.ClientHelloInfo) bool {
	tcp, ok := info.Conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return g.http3.mayWake(info.Context())
	}
	from := tcp.AddrPort().Addr()
	if g.isFrontEnd(from) {
		return false
	}
	_, ok = g.mayWake(from)
	return ok
}

// bySNI finds the site that a ClientHello names.
func (g *Gateway) bySNI(info *tls.ClientHelloInfo) *routes.Site {
	entry, ok := g.Table.Lookup(routes.Normalize(info.ServerName))
	if !ok {
		return nil
	}
	return entry.Site
}

// passthroughHello finds connections that are forwarded as they are.
type passthroughHello struct{}

// CaddyModule implements caddy.Module.
func (*passthroughHello) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tls.handshake_match.fcnode_passthrough", New: func() caddy.Module { return new(passthroughHello) }}
}

// Match implements caddytls.ConnectionMatcher.
func (*passthroughHello) Match(info *tls.ClientHelloInfo) bool {
	g := current.Load()
	site := g.bySNI(info)
	return site != nil && g.https(site) == routes.Passthrough
}

// permission says for which names a certificate may be issued.
type permission struct{}

// CaddyModule implements caddy.Module.
func (permission) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tls.permission.fcnode", New: func() caddy.Module { return permission{} }}
}

// CertificateAllowed implements caddytls.OnDemandPermission.
func (permission) CertificateAllowed(_ context.Context, name string) error {
	g := current.Load()
	entry, ok := g.Table.Lookup(routes.Normalize(name))
	if !ok {
		return fmt.Errorf("%s is not a domain of any site", name)
	}
	if mode := g.https(entry.Site); mode == routes.Off || mode == routes.Passthrough {
		return fmt.Errorf("%s has no certificate here: https is %s", name, mode)
	}
	return nil
}
