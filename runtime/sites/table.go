package sites

import (
	"fmt"
	"net/netip"
	"sync"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/policy"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/runtime/store"
)

// Table has the sites of a node.
type Table struct {
	host *life.Host

	AlwaysOn []*spec.Site // found at the start, to be woken once events are read

	mu      sync.RWMutex // guards what follows
	Sites   map[string]*life.Site
	ids     map[bpf.SiteID]*life.Site
	domains map[string]string // to the site's name
	pools   []*addresses

	apply sync.Mutex // one change of the set of sites at a time
}

func NewTable(h *life.Host) *Table {
	t := &Table{host: h, Sites: map[string]*life.Site{}, ids: map[bpf.SiteID]*life.Site{}, domains: map[string]string{}}
	for _, p := range h.Cfg.Prefixes {
		t.pools = append(t.pools, newAddresses(p))
	}
	return t
}

func (t *Table) ByID(id bpf.SiteID) *life.Site {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.ids[id]
}

func (t *Table) ByName(name string) (*life.Site, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if e := t.Sites[name]; e != nil {
		return e, nil
	}
	return nil, NotFound(name)
}

// Count is how many sites there are.
func (t *Table) Count() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.Sites)
}

// All returns the sites in no order.
func (t *Table) All() []*life.Site {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := make([]*life.Site, 0, len(t.Sites))
	for _, e := range t.Sites {
		out = append(out, e)
	}
	return out
}

// poolOf finds the prefix that an address lies in.
func (t *Table) poolOf(a netip.Addr) (*addresses, error) {
	for _, p := range t.pools {
		if p.contains(a) {
			return p, nil
		}
	}
	var prefixes []netip.Prefix
	for _, p := range t.pools {
		prefixes = append(prefixes, p.prefix)
	}
	return nil, fmt.Errorf("address %s is in none of the node's prefixes %v", a, prefixes)
}

// Load fills the tables from disk.
func (t *Table) Load() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var lacking policy.Unprepared
	defer func() {
		if lacking.Sites > 0 {
			t.host.Log.Warn("sites ask for prepared replicas and get none: the configuration allows none (prepared.max)", "sites", lacking.Sites, "one", lacking.Example)
		}
	}()
	return t.host.Store.Readable(func(s *store.Site) error {
		lacking.Add(&s.Spec, t.host.Means.Can)
		e := life.New(t.host, s)
		t.Sites[e.Name], t.ids[e.ID] = e, e
		if s.Spec.Scale.Min > 0 {
			t.AlwaysOn = append(t.AlwaysOn, &s.Spec)
		}
		for _, d := range e.Domains {
			t.domains[d] = e.Name
		}
		for _, a := range e.Addrs() {
			pool, err := t.poolOf(a)
			if err != nil {
				return fmt.Errorf("site %s: %w: put the prefix back into the configuration, or delete the site first", e.Name, err)
			}
			pool.take(a)
		}
		return nil
	}, func(name string, err error) error {
		t.host.Log.Error("a site is not served: its record cannot be read; apply it anew", "site", name, "error", err)
		return nil
	})
}

func (t *Table) SyncListeners() error {
	have, err := t.host.Data.Listeners()
	if err != nil {
		return err
	}
	missing := map[bpf.Listener]bpf.ListenerSite{}
	for _, e := range t.All() {
		for l, s := range e.Listeners() {
			if is, ok := have[l]; !ok || is != s {
				missing[l] = s
			}
			delete(have, l)
		}
	}
	if err := t.host.Data.PutListeners(missing); err != nil {
		return err
	}
	stale := make([]bpf.Listener, 0, len(have))
	for l := range have {
		stale = append(stale, l)
	}
	return t.host.Data.DeleteListeners(stale...)
}
