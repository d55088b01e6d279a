package api

import (
	"context"
	"iter"
	"log/slog"
	"net/http"
	"net/netip"
	"time"
)

// RoutesVersion is the version of the feed of routes. A reader refuses lines of another one.
const RoutesVersion = 1

// Route is a site as a front end sees it: which names it has, where it is, and how it is served.
type Route struct {
	Site      string       `json:"site"`
	Domains   []string     `json:"domains"`
	Addresses []netip.Addr `json:"addresses"`
	// Port of the site that speaks HTTP, or TLS where HTTPS is passthrough; 0 where it has none.
	Port int `json:"port"`
	// HTTPS is redirect, both, off, passthrough, or empty: the gateway's default.
	HTTPS string `json:"https,omitempty"`
	// WWW is apex, www, or empty.
	WWW string `json:"www,omitempty"`
	// Protocol is http (also when empty) or h2c.
	Protocol string `json:"protocol,omitempty"`
	// ProxyProtocol is v1, v2, or empty.
	ProxyProtocol string        `json:"proxyProtocol,omitempty"`
	WaitingPage   bool          `json:"waitingPage,omitempty"`
	HSTSNs        time.Duration `json:"hstsNs,omitempty"`
	// ClientCA is the file of the authorities whose certificates are asked for.
	ClientCA       string       `json:"clientCA,omitempty"`
	ClientOptional bool         `json:"clientOptional,omitempty"`
	Ignore         *RouteIgnore `json:"ignore,omitempty"`
}

// RouteIgnore says which requests never wake the site, and what they get instead.
type RouteIgnore struct {
	UserAgents []string `json:"userAgents,omitempty"`
	Paths      []string `json:"paths,omitempty"`
	Status     int      `json:"status,omitempty"`
}

// RouteUpdate is one line of the feed. The first has the version alone; then come the routes there are, then a line that says
// synced, then what changes.
type RouteUpdate struct {
	Version int `json:"version,omitempty"`
	// Route has come, or has changed.
	Route *Route `json:"route,omitempty"`
	// Gone is the name of a site that has none any more.
	Gone string `json:"gone,omitempty"`
	// Synced follows the last of the routes that there were.
	Synced bool `json:"synced,omitempty"`
}

// NewRoutesServer returns a server of the feed of routes and of nothing else, for the socket of those who may read only it.
func NewRoutesServer(backend Backend, log *slog.Logger) *Server {
	s := NewServer(backend, log)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/routes", s.feed)
	s.http.Handler = s.guarded(mux)
	return s
}

func (s *Server) feed(w http.ResponseWriter, r *http.Request) {
	q := query{values: r.URL.Query()}
	follow := q.bool("follow")
	if err := q.done(); err != nil {
		s.fail(w, r, err)
		return
	}
	stream(s, w, r, follow, func(ctx context.Context) iter.Seq2[RouteUpdate, error] { return s.backend.Routes(ctx, follow) })
}

// Routes yields the feed of routes; see [Backend.Routes].
func (c *Client) Routes(ctx context.Context, follow bool) iter.Seq2[RouteUpdate, error] {
	q := map[string][]string{}
	setBool(q, "follow", follow)
	return readStream[RouteUpdate](ctx, c, http.MethodGet, "/v1/routes", q)
}
