package front

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/caddyserver/caddy/v2"
	"github.com/mholt/caddy-l4/layer4"
	"github.com/pires/go-proxyproto"

	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/routes"
)

func init() { caddy.RegisterModule(new(passthrough)) }

// passthrough forwards a TLS connection as it is to the site that its ClientHello names.
type passthrough struct{}

// CaddyModule implements caddy.Module.
func (*passthrough) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "layer4.handlers.fcnode", New: func() caddy.Module { return new(passthrough) }}
}

// Handle implements layer4.NextHandler.
func (*passthrough) Handle(cx *layer4.Connection, _ layer4.Handler) error {
	g := current.Load()
	name, _ := cx.Replacer().GetString("l4.tls.server_name")
	entry, ok := g.Table.Lookup(routes.Normalize(name))
	if !ok || g.https(entry.Site) != routes.Passthrough || entry.Site.Upstream() == "" {
		return fmt.Errorf("%q is no longer forwarded", name)
	}
	if from, ok := cx.RemoteAddr().(*net.TCPAddr); ok && upstreamOf(entry.Site).asleep() && !g.isFrontEnd(from.AddrPort().Addr()) {
		if _, ok := g.mayWake(from.AddrPort().Addr()); !ok {
			return nil // nothing but the end of the connection can be said
		}
	}
	up, err := g.dialThrough(cx, entry.Site)
	if err != nil {
		g.log.Warn("a site cannot be reached; `fcnode events --site "+entry.Site.Site+"` says why", "site", entry.Site.Site, "host", name, "error", err)
		return nil
	}
	defer up.Close()
	down := make(chan struct{})
	go func() {
		defer close(down)
		_, _ = io.Copy(cx.Conn, up)
		endWriting(cx.Conn)
	}()
	_, _ = io.Copy(up, cx)
	endWriting(up)
	<-down
	return nil
}

// dialThrough opens a connection to the site, waking it, and tells it the visitor's address where it asks for that.
func (g *Gateway) dialThrough(cx *layer4.Connection, site *routes.Site) (net.Conn, error) {
	u, addr := upstreamOf(site), site.Upstream()
	if err := u.reach(context.Background(), addr); err != nil {
		return nil, err
	}
	up, ok := u.take(addr)
	if !ok {
		c, err := g.dial("tcp", addr)
		if err != nil {
			return nil, err
		}
		up = u.counted(c)
	}
	versions := map[string]byte{"v1": 1, "v2": 2}
	if site.ProxyProtocol == "" {
		return up, nil
	}
	header := proxyproto.HeaderProxyFromAddrs(versions[site.ProxyProtocol], cx.RemoteAddr(), cx.LocalAddr())
	if _, err := header.WriteTo(up); err != nil {
		return nil, errors.Join(err, up.Close())
	}
	return up, nil
}

// endWriting passes on that one side has nothing more to say; where that cannot be said, the connection ends.
func endWriting(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
		return
	}
	c.Close()
}
