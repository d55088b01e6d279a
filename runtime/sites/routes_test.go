package sites

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/runtime/store"
	"github.com/fcnode/fcnode/tests/testutil"
)

var sameAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// routeSite is a site as the store has it.
func routeSite(name string, domains []string, g spec.Gateway) *store.Site {
	return &store.Site{
		Addr4: netip.MustParseAddr("10.77.0.9"),
		Spec: spec.Site{
			Name: name, Domains: domains, Gateway: g, Scale: spec.Scale{Max: 1},
			Ports: []spec.Port{{Port: 443, Proto: "tcp"}, {Port: 53, Proto: "udp"}, {Port: 8080, Proto: "tcp"}},
		},
	}
}

func routeNode() *Table { return NewTable(&life.Host{}) }

// put adds or changes a site as takeOver does.
func (n *Table) putRoute(s *store.Site) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.Sites[s.Spec.Name] = life.New(n.host, s)
	n.routes.changed(s.Spec.Name)
}

func TestRoutesFollowTheTable(t *testing.T) {
	n := routeNode()
	n.putRoute(routeSite("blog", []string{"blog.example"}, spec.Gateway{}))
	n.putRoute(routeSite("none", nil, spec.Gateway{}))
	ctx, cancel := context.WithCancel(t.Context())
	next, stop := iter.Pull2(n.Routes(ctx, true))
	defer stop()
	receive := func() api.RouteUpdate {
		t.Helper()
		u, err, ok := next()
		if !ok || err != nil {
			t.Fatalf("the feed ended: %v", err)
		}
		return u
	}
	blog := api.Route{
		Site: "blog", Domains: []string{"blog.example"}, Addresses: []netip.Addr{netip.MustParseAddr("10.77.0.9")}, Port: 8080,
	}
	for i, want := range []api.RouteUpdate{{Version: 1}, {Route: &blog}, {Synced: true}} {
		if diff := cmp.Diff(want, receive(), sameAddr); diff != "" {
			t.Fatalf("line %d:\n%s", i, diff)
		}
	}
	n.putRoute(routeSite("blog", []string{"blog.example"}, spec.Gateway{
		Port: 443, HTTPS: spec.HTTPSPassthrough, HSTS: spec.Duration(time.Hour), Ignore: spec.Ignore{Paths: []string{"/up"}},
	}))
	changed := blog
	changed.Port, changed.HTTPS, changed.HSTSNs, changed.Ignore = 443, "passthrough", time.Hour, &api.RouteIgnore{Paths: []string{"/up"}}
	if diff := cmp.Diff(api.RouteUpdate{Route: &changed}, receive(), sameAddr); diff != "" {
		t.Error(diff)
	}
	// A site without domains is none; one that loses them is gone, once.
	n.putRoute(routeSite("none", nil, spec.Gateway{}))
	n.putRoute(routeSite("blog", nil, spec.Gateway{}))
	n.putRoute(routeSite("shop", []string{"shop.example"}, spec.Gateway{}))
	got := map[string]bool{}
	for range 2 {
		u := receive()
		if u.Route != nil {
			got["route of "+u.Route.Site] = true
		}
		got["gone "+u.Gone] = true
	}
	if !got["gone blog"] || !got["route of shop"] {
		t.Errorf("changes: %v", got)
	}
	cancel()
	if u, err, ok := next(); ok {
		t.Errorf("after the end: %v, %v", u, err)
	}
	if len(n.routes.followers) != 0 {
		t.Error("a follower that left is still told")
	}
}

// A reader that does not read holds no more than the names, and misses nothing.
func TestRoutesOfASlowReader(t *testing.T) {
	n := routeNode()
	next, stop := iter.Pull2(n.Routes(t.Context(), true))
	defer stop()
	for range 2 {
		if _, err, ok := next(); err != nil || !ok {
			t.Fatal(err, ok)
		}
	}
	const sites = 1000
	for round := range 20 {
		for i := range sites {
			n.putRoute(routeSite(fmt.Sprintf("s%d", i), []string{fmt.Sprintf("s%d-%d.example", i, round)}, spec.Gateway{}))
		}
	}
	seen := map[string]bool{}
	done := make(chan struct{}, 1)
	go func() {
		defer func() { done <- struct{}{} }()
		for range sites {
			u, _, _ := next()
			if u.Route.Domains[0] == u.Route.Site+"-19.example" {
				seen[u.Route.Site] = true
			}
		}
	}()
	testutil.Receive(t, 10*time.Second, "all sites", done)
	if len(seen) != sites {
		t.Errorf("%d of %d sites came with their last state", len(seen), sites)
	}
}
