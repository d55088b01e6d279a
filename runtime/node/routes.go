package node

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/spec"
)

// routeFeed tells those who follow the routes which sites have changed. The zero value has no followers.
type routeFeed struct {
	mu        sync.Mutex
	followers map[*routeFollower]struct{}
}

// routeFollower collects names until its reader takes them, so that a slow one costs no more than a set of names.
type routeFollower struct {
	names map[string]struct{} // guarded by routeFeed.mu
	news  chan struct{}       // has one entry while there are names
}

func (f *routeFeed) changed(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for follower := range f.followers {
		follower.names[name] = struct{}{}
		select {
		case follower.news <- struct{}{}:
		default:
		}
	}
}

func (f *routeFeed) follow() *routeFollower {
	follower := &routeFollower{names: map[string]struct{}{}, news: make(chan struct{}, 1)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.followers == nil {
		f.followers = map[*routeFollower]struct{}{}
	}
	f.followers[follower] = struct{}{}
	return follower
}

func (f *routeFeed) leave(follower *routeFollower) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.followers, follower)
}

// take gives the names that have changed since it was called last.
func (f *routeFeed) take(follower *routeFollower) map[string]struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := follower.names
	follower.names = map[string]struct{}{}
	return names
}

// Routes implements api.Backend.
func (n *Node) Routes(ctx context.Context, follow bool) iter.Seq2[api.RouteUpdate, error] {
	return func(yield func(api.RouteUpdate, error) bool) {
		follower := n.routes.follow() // before the sites are read, so that no change falls in between
		defer n.routes.leave(follower)
		if !yield(api.RouteUpdate{Version: api.RoutesVersion}, nil) {
			return
		}
		known := map[string]bool{}
		for _, r := range n.allRoutes() {
			known[r.Site] = true
			if !yield(api.RouteUpdate{Route: &r}, nil) {
				return
			}
		}
		if !yield(api.RouteUpdate{Synced: true}, nil) {
			return
		}
		for follow {
			select {
			case <-ctx.Done():
				return
			case <-follower.news:
			}
			for name := range n.routes.take(follower) {
				if u, ok := n.routeUpdate(name, known); ok && !yield(u, nil) {
					return
				}
			}
		}
	}
}

// routeUpdate says what has become of a site. known are those that the reader has heard of.
func (n *Node) routeUpdate(name string, known map[string]bool) (api.RouteUpdate, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if e := n.sites[name]; e != nil && len(e.domains) > 0 {
		known[name] = true
		r := e.route()
		return api.RouteUpdate{Route: &r}, true
	}
	was := known[name]
	delete(known, name)
	return api.RouteUpdate{Gone: name}, was
}

func (n *Node) allRoutes() []api.Route {
	n.mu.RLock()
	defer n.mu.RUnlock()
	var out []api.Route
	for _, e := range n.sites {
		if len(e.domains) > 0 {
			out = append(out, e.route())
		}
	}
	slices.SortFunc(out, func(a, b api.Route) int { return cmp.Compare(a.Site, b.Site) })
	return out
}

// gatewayOf keeps what the spec says about front ends, if it says something.
func gatewayOf(s *spec.Site) *spec.Gateway {
	if s.Gateway.IsZero() {
		return nil
	}
	g := s.Gateway
	return &g
}

// route is the site as a front end sees it. The caller holds Node.mu, under which all that it reads changes.
func (e *entry) route() api.Route {
	s := spec.Site{Ports: e.ports}
	if e.gateway != nil {
		s.Gateway = *e.gateway
	}
	g := &s.Gateway
	r := api.Route{
		Site: e.name, Domains: e.domains, Addresses: e.addrs(), Port: s.HTTPPort(),
		HTTPS: g.HTTPS, WWW: g.WWW, Protocol: g.Protocol, ProxyProtocol: g.ProxyProtocol, WaitingPage: g.WaitingPage,
		HSTSNs: time.Duration(g.HSTS), ClientCA: g.ClientCertificates.CA, ClientOptional: g.ClientCertificates.Optional,
	}
	if !g.Ignore.IsZero() {
		r.Ignore = &api.RouteIgnore{UserAgents: g.Ignore.UserAgents, Paths: g.Ignore.Paths, Status: g.Ignore.Status}
	}
	return r
}

// serveRoutes opens the socket on which gateways follow the routes, and can do nothing else.
func (n *Node) serveRoutes(ctx context.Context) error {
	listener, grouped, err := api.Listen(n.cfg.Routes.Socket, n.cfg.Routes.Group)
	if err != nil {
		return err
	}
	if !grouped {
		n.log.Info("the group that may follow the routes does not exist: only root may", "group", n.cfg.Routes.Group)
	}
	server := api.NewRoutesServer(n, n.log)
	n.work.Go(func() {
		if err := server.Serve(ctx, listener); err != nil {
			n.log.Error("gateways no longer learn of changes", "error", err)
		}
	})
	return nil
}
