package front

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/routes"
)

func init() { caddy.RegisterModule(new(handler)) }

// handler finds the site of a request and hands it to a reverse proxy.
type handler struct {
	// ProxiesRaw are reverse proxies, one for each of wires in its order.
	ProxiesRaw []json.RawMessage `json:"proxies" caddy:"namespace=http.handlers inline_key=handler"`

	gateway *Gateway
	proxies map[wire]caddyhttp.MiddlewareHandler
}

// wire is how a site is spoken to.
type wire struct {
	h2c           bool
	proxyProtocol string
}

var wires = []wire{{}, {h2c: true}, {proxyProtocol: "v1"}, {true, "v1"}, {proxyProtocol: "v2"}, {true, "v2"}}

// CaddyModule implements caddy.Module.
func (*handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.fcnode", New: func() caddy.Module { return new(handler) }}
}

// Provision implements caddy.Provisioner.
func (h *handler) Provision(ctx caddy.Context) error {
	mods, err := ctx.LoadModule(h, "ProxiesRaw")
	if err != nil {
		return fmt.Errorf("the reverse proxies: %w", err)
	}
	h.gateway, h.proxies = current.Load(), map[wire]caddyhttp.MiddlewareHandler{}
	for i, mod := range mods.([]any) {
		h.proxies[wires[i]] = mod.(caddyhttp.MiddlewareHandler)
	}
	if srv, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		srv.RegisterConnState(h.gateway.active.note)
	}
	return nil
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	g := h.gateway
	w.Header().Del("Server") // the site's own, if it has one
	g.offerHTTP3(w, r)
	host := routes.Normalize(r.Host)
	entry, ok := g.Table.Lookup(host)
	if !ok {
		return unknown(w, r)
	}
	site := entry.Site
	secure := g.secure(r)
	switch mode := g.https(site); {
	case r.TLS != nil && (mode == routes.Off || mode == routes.Passthrough || !g.handshakeFor(r, host, site) || !g.shownFor(r, site)):
		return misdirected(w)
	case !secure && (mode == routes.Redirect || mode == routes.Passthrough):
		return g.redirect(w, r, "https", host, entry)
	case r.TLS == nil && !g.shownFor(r, site):
		return plain(w, http.StatusForbidden, "this site asks for a certificate, which a front end cannot show")
	case entry.Canonical != "":
		return g.redirect(w, r, schemeOf(secure), entry.Canonical, entry)
	}
	client := clientOf(r)
	if after, ok := g.rates.allow(client, site.Site); !ok {
		w.Header().Set("Retry-After", strconv.Itoa(after))
		return plain(w, http.StatusTooManyRequests, "too many requests")
	}
	addr := site.Upstream()
	if addr == "" {
		return g.unavailable(w, r, site, errors.New("it has neither a TCP port for HTTP nor gateway.port"))
	}
	u := upstreamOf(site)
	defer u.busy.Add(-1)
	if n := u.busy.Add(1); g.cfg.Limits.PerSite > 0 && n > int64(g.cfg.Limits.PerSite) {
		return answer(w, r, g.pages.unavailable, time.Second, "too many requests are under way")
	}
	v := &visit{site: site, ignored: site.Ignore.Matches(r.URL.Path, r.UserAgent()), told: told(r, site, client, secure)}
	if !v.ignored {
		if u.asleep() {
			if after, ok := g.mayWake(client); !ok {
				w.Header().Set("Retry-After", strconv.Itoa(after))
				return plain(w, http.StatusTooManyRequests, "too many sites were woken from here")
			}
		}
		defer u.visits()()
	} else if !u.visitedWithin(g.cfg.Wake.KeepAlive) {
		return ignored(w, site)
	}
	if site.WaitingPage && !v.ignored && navigates(r) {
		switch err := g.waitFor(r, u, addr); {
		case errors.Is(err, errStillWaking):
			return answer(w, r, g.pages.waiting, g.cfg.Wake.Reload, "")
		case err != nil:
			return g.unavailable(w, r, site, err)
		}
	}
	if site.HSTSNs > 0 && secure {
		w.Header().Set("Strict-Transport-Security", "max-age="+strconv.FormatInt(int64(site.HSTSNs/time.Second), 10))
	}
	return h.forward(w, r, next, v)
}

// forward hands the request to the proxy for the site's wire.
func (h *handler) forward(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, v *visit) error {
	g, site := h.gateway, v.site
	grpc := strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
	if r.ProtoMajor > 1 && (grpc || r.Method == http.MethodConnect) {
		// Both ends may be silent for long; how many connections a source has is bounded.
		if body, _ := caddyhttp.IdleTimeoutsFromContext(r.Context()); body != nil {
			defer body.Override(streamTimeout, 0)()
		}
	}
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	repl.Set(upstreamPlaceholder, site.Upstream())
	r = r.WithContext(context.WithValue(r.Context(), visitKey{}, v))
	proxy := h.proxies[wire{h2c: grpc || site.Protocol == "h2c", proxyProtocol: site.ProxyProtocol}]
	ended := false
	defer func() {
		if !ended && r.Context().Err() == nil {
			g.log.Warn("an answer was cut off, because the site or the visitor went away", "site", site.Site, "host", r.Host)
		}
	}()
	err := proxy.ServeHTTP(w, r, next) // panics when it has begun an answer and cannot end it
	ended = true
	var unreachable *unreachableError
	switch {
	case err == nil || r.Context().Err() != nil:
		return err
	case errors.Is(err, errIgnored):
		return ignored(w, site)
	case errors.As(err, &unreachable):
		return g.unavailable(w, r, site, err)
	}
	g.log.Warn("a request failed", "site", site.Site, "host", r.Host, "error", err)
	return plain(w, http.StatusBadGateway, "the site did not answer as it should")
}

const (
	upstreamPlaceholder = "fcnode.upstream"
	// streamTimeout is how long a stream in both directions may be silent.
	streamTimeout = time.Hour
)

// ignored answers a request that neither wakes the site nor keeps it awake.
func ignored(w http.ResponseWriter, site *routes.Site) error {
	return refuse(w, cmp.Or(site.Ignore.Status, http.StatusNoContent), nil)
}

// errStillWaking says that a browser has waited for long enough.
var errStillWaking = errors.New("the site is still waking")

// waitFor waits for the site to wake until it is time for the page. The wake goes on.
func (g *Gateway) waitFor(r *http.Request, u *upstream, addr string) error {
	ctx, cancel := context.WithTimeoutCause(r.Context(), g.cfg.Wake.Page, errStillWaking)
	defer cancel()
	return u.reach(ctx, addr)
}

// unavailable answers for a site that cannot be started. Why is the operator's to know.
func (g *Gateway) unavailable(w http.ResponseWriter, r *http.Request, site *routes.Site, err error) error {
	g.log.Warn("a site cannot be reached; `fcnode events --site "+site.Site+"` says why", "site", site.Site, "host", r.Host, "error", err)
	return answer(w, r, g.pages.unavailable, retryUnavailable, "the site cannot be reached at the moment")
}

const retryUnavailable = 10 * time.Second

// unknown refuses a host of which no site has the name.
func unknown(w http.ResponseWriter, r *http.Request) error {
	if r.TLS != nil {
		return misdirected(w)
	}
	return plain(w, http.StatusNotFound, "no site has this name")
}

// misdirected says that another connection is needed, which browsers then open.
func misdirected(w http.ResponseWriter) error {
	return plain(w, http.StatusMisdirectedRequest, "no site has this name on this connection")
}

// handshakeFor says whether the handshake was for this very site: a connection asks for what it likes, but whether its visitor
// has shown a certificate, and for whom ours vouched, was decided for the name in the ClientHello.
func (g *Gateway) handshakeFor(r *http.Request, host string, site *routes.Site) bool {
	name := routes.Normalize(r.TLS.ServerName)
	if name == host {
		return true
	}
	entry, ok := g.Table.Lookup(name)
	return ok && entry.Site.Site == site.Site
}

// secure says whether the visitor came by HTTPS, to the gateway or to a front end that is trusted.
func (g *Gateway) secure(r *http.Request) bool {
	return r.TLS != nil || trusted(r) && r.Header.Get("X-Forwarded-Proto") == "https"
}

func schemeOf(secure bool) string {
	if secure {
		return "https"
	}
	return "http"
}

// redirect sends the visitor to a scheme and host for good. Both steps that may be due are taken at once.
func (g *Gateway) redirect(w http.ResponseWriter, r *http.Request, scheme, host string, entry routes.Entry) error {
	if entry.Canonical != "" {
		host = entry.Canonical
	}
	listen, usual := g.cfg.HTTP, "80"
	if scheme == "https" {
		listen, usual = g.cfg.HTTPS, "443"
	}
	if len(listen) > 0 {
		if _, port, err := net.SplitHostPort(listen[0]); err == nil && port != usual && !trusted(r) {
			host = net.JoinHostPort(host, port)
		}
	}
	path := r.URL.RequestURI()
	if !strings.HasPrefix(path, "/") { // "*", or an opaque URI, which would become a part of the host
		path = "/"
	}
	w.Header().Set("Location", scheme+"://"+host+path)
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusPermanentRedirect)
	return nil
}

// trusted says whether the request came from a front end whose word is taken.
func trusted(r *http.Request) bool {
	t, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return t
}

// clientOf is the address of the visitor, behind front ends that are trusted.
func clientOf(r *http.Request) netip.Addr {
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	if a, err := netip.ParseAddr(text); err == nil {
		return a.Unmap()
	}
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Addr().Unmap()
	}
	return netip.IPv6Unspecified()
}

// told is what the site is told about its visitor, besides X-Forwarded-*, which Caddy adds.
func told(r *http.Request, site *routes.Site, client netip.Addr, secure bool) http.Header {
	peer := client
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		peer = ap.Addr().Unmap()
	}
	node := peer.String()
	if peer.Is6() {
		node = `"[` + peer.WithZone("").String() + `]"`
	}
	element := "for=" + node + ";host=" + quoted(r.Host) + ";proto=" + schemeOf(secure)
	if before := r.Header.Values("Forwarded"); trusted(r) && len(before) > 0 {
		element = strings.Join(before, ", ") + ", " + element
	}
	out := http.Header{"Forwarded": {element}, "X-Real-Ip": {client.String()}, "X-Client-Subject": nil}
	if site.ClientCA != "" && r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		out.Set("X-Client-Subject", r.TLS.PeerCertificates[0].Subject.String())
	}
	return out
}

// quoted writes a value as RFC 7239 wants one that is no token.
func quoted(s string) string { return `"` + quoter.Replace(s) + `"` }

var quoter = strings.NewReplacer(`\`, `\\`, `"`, `\"`) // building it is a twentieth of a request
