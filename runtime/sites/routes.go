package sites

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/life"
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

// Routes yields the routes of all sites, and with follow their changes.
func (t *Table) Routes(ctx context.Context, follow bool) iter.Seq2[api.RouteUpdate, error] {
	return func(yield func(api.RouteUpdate, error) bool) {
		follower := t.routes.follow() // before the sites are read, so that no change falls in between
		defer t.routes.leave(follower)
		if !yield(api.RouteUpdate{Version: api.RoutesVersion}, nil) {
			return
		}
		known := map[string]bool{}
		for _, r := range t.allRoutes() {
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
			for name := range t.routes.take(follower) {
				if u, ok := t.routeUpdate(name, known); ok && !yield(u, nil) {
					return
				}
			}
		}
	}
}

// routeUpdate says what has become of a site. known are those that the reader has heard of.
func (t *Table) routeUpdate(name string, known map[string]bool) (api.RouteUpdate, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if e := t.Sites[name]; e != nil && len(e.Domains) > 0 {
		known[name] = true
		r := route(e)
		return api.RouteUpdate{Route: &r}, true
	}
	was := known[name]
	delete(known, name)
	return api.RouteUpdate{Gone: name}, was
}

func (t *Table) allRoutes() []api.Route {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var out []api.Route
	for _, e := range t.Sites {
		if len(e.Domains) > 0 {
			out = append(out, route(e))
		}
	}
	slices.SortFunc(out, func(a, b api.Route) int { return cmp.Compare(a.Site, b.Site) })
	return out
}

// route is the site as a front end sees it. All that it reads changes under the lock of the table only.
func route(e *life.Site) api.Route {
	s := spec.Site{Ports: e.Ports}
	if e.Gateway != nil {
		s.Gateway = *e.Gateway
	}
	g := &s.Gateway
	r := api.Route{
		Site: e.Name, Domains: e.Domains, Addresses: e.Addrs(), Port: s.HTTPPort(),
		HTTPS: g.HTTPS, WWW: g.WWW, Protocol: g.Protocol, ProxyProtocol: g.ProxyProtocol, WaitingPage: g.WaitingPage,
		HSTSNs: time.Duration(g.HSTS), ClientCA: g.ClientCertificates.CA, ClientOptional: g.ClientCertificates.Optional,
	}
	if !g.Ignore.IsZero() {
		r.Ignore = &api.RouteIgnore{UserAgents: g.Ignore.UserAgents, Paths: g.Ignore.Paths, Status: g.Ignore.Status}
	}
	return r
}
