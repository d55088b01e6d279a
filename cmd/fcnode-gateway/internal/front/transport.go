package front

import (
	"context"
	"errors"
	"net"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/routes"
)

func init() { caddy.RegisterModule(new(transport)) }

// transport is Caddy's, but opens connections as the site's upstream wants it.
type transport struct {
	reverseproxy.HTTPTransport
}

// CaddyModule implements caddy.Module.
func (*transport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.transport.fcnode", New: func() caddy.Module { return new(transport) }}
}

// errIgnored is why no connection is opened for a request that must not wake its site.
var errIgnored = errors.New("a request that does not wake the site")

// visit is what a request is about, for the one who opens a connection for it.
type visit struct {
	site    *routes.Site
	ignored bool
	told    http.Header // to the site about the visitor; nil is a header that must not be there
}

type visitKey struct{}

// Provision implements caddy.Provisioner.
func (t *transport) Provision(ctx caddy.Context) error {
	if err := t.HTTPTransport.Provision(ctx); err != nil {
		return err
	}
	t.Transport.Proxy = nil // of the environment: sites are reached by their addresses
	proxied := t.Transport.DialContext
	t.Transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		v, ok := ctx.Value(visitKey{}).(*visit)
		if !ok {
			return nil, errors.New("a request without a site")
		}
		if v.ignored {
			return nil, errIgnored
		}
		addr := v.site.Upstream() // with PROXY protocol Caddy's has the visitor in it
		u, dial := upstreamOf(v.site), proxied
		if err := u.reach(ctx, addr); err != nil {
			return nil, err
		}
		if v.site.ProxyProtocol == "" {
			if c, ok := u.take(addr); ok {
				return c, nil
			}
		}
		if v.site.ProxyProtocol == "" {
			dial = current.Load().dialer(addr).DialContext
		}
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, &unreachableError{err: err}
		}
		return u.counted(c), nil
	}
	return nil
}

// RoundTrip implements http.RoundTripper. Only here, behind what takes away the headers that a visitor's Connection names, is the
// site told about the visitor.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if v, ok := r.Context().Value(visitKey{}).(*visit); ok {
		for name, values := range v.told {
			delete(r.Header, name)
			if values != nil {
				r.Header[name] = values
			}
		}
	}
	return t.HTTPTransport.RoundTrip(r)
}
