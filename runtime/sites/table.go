package sites

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/guard"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/network"
	"github.com/fcnode/fcnode/runtime/policy"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/runtime/store"
)

// Table has the sites of a node.
type Table struct {
	host *life.Host

	AlwaysOn  []*spec.Site // found at the start, to be woken once events are read
	OwnUserns bool         // found at the start: some site has userns: private

	mu      sync.RWMutex // guards what follows
	Sites   map[string]*life.Site
	ids     map[bpf.SiteID]*life.Site
	domains map[string]string // to the site's name
	pools   []*addresses

	reserved reservations

	routes routeFeed

	Rules *network.Rules // nil: none are kept (in tests)

	apply sync.Mutex // one change of the set of sites at a time
	dir   sync.Mutex // the folder of specs is read by one at a time
}

// NewTable makes an empty table.
func NewTable(h *life.Host) *Table {
	t := &Table{host: h, Sites: map[string]*life.Site{}, ids: map[bpf.SiteID]*life.Site{}, domains: map[string]string{}, reserved: reservations{byName: map[string]store.Reservation{}}}
	for _, p := range h.Cfg.Prefixes {
		t.pools = append(t.pools, newAddresses(p))
	}
	t.reserved.pools = t.pools
	return t
}

// ByID finds a site by its number in the data path; nil: none.
func (t *Table) ByID(id bpf.SiteID) *life.Site {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.ids[id]
}

// ByName finds a site.
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

// Load fills the tables from disk. A site of which the record is damaged is
// taken from the copy of the state file, or else not served.
func (t *Table) Load() error {
	var lacking policy.Unprepared
	classes, lost := policy.NewClasses(t.host.Cfg.Classes), map[string]int{}
	defer func() {
		for _, class := range slices.Sorted(maps.Keys(lost)) {
			t.host.Log.Warn("sites name a class that the configuration does not have; they have the standard one", "class", class, "sites", lost[class])
		}
		if lacking.Sites > 0 {
			t.host.Log.Warn("sites ask for prepared replicas and get none: the configuration allows none (prepared.max)", "sites", lacking.Sites, "one", lacking.Example)
		}
	}()
	var mended []*store.Site
	take := func(s *store.Site) error {
		err := t.takeSite(s)
		if err == nil {
			lacking.Add(&s.Spec, t.host.Means.Can)
			if l := classes.Of(&s.Spec); l.Missing != "" {
				lost[l.Missing]++
			}
		}
		return err
	}
	bad := func(name string, why error) {
		s, err := t.host.Store.FromCopy(name)
		if err == nil {
			err = take(s)
		}
		if err == nil {
			mended = append(mended, s)
			t.host.Quarantined(life.BadSite, event.Event{Site: name, Reason: why.Error(), Text: "its record was taken from the copy of the state file: look whether it is the newest"})
			return
		}
		t.host.Quarantine.AddSite(name, why)
		t.host.Quarantined(life.BadSite, event.Event{Site: name, Reason: why.Error(), Text: "it is not served, and refused: apply its spec again, or delete it"})
	}
	err := t.host.Store.Readable(func(s *store.Site) error {
		var err error
		if fault := guard.Run(func() { err = take(s) }); fault != nil {
			err = fmt.Errorf("%w: %w", errTaken, fault)
		}
		if errors.Is(err, errTaken) {
			bad(s.Spec.Name, err)
			return nil
		}
		return err
	}, func(name string, why error) error {
		bad(name, why)
		return nil
	})
	err = errors.Join(err, t.loadReserved())
	if err == nil && len(mended) > 0 {
		if err := t.host.Store.Put(mended); err != nil { // the next daemon takes them from the copy again
			t.host.Log.Error("records that were taken from the copy are not in the state file", "error", err)
		}
	}
	return err
}

// errTaken means that two records claim what only one site can have.
var errTaken = errors.New("its record is damaged")

// takeSite enters a site into the tables, or nothing of it.
func (t *Table) takeSite(s *store.Site) error {
	e := life.New(t.host, s)
	t.mu.Lock()
	defer t.mu.Unlock()
	if other := t.ids[e.ID]; other != nil {
		return fmt.Errorf("%w: site %s has the number %d too", errTaken, other.Name, e.ID)
	}
	for _, a := range e.Addrs() {
		pool, err := t.poolOf(a)
		if err != nil {
			return fmt.Errorf("site %s: %w: put the prefix back into the configuration, or delete the site first", e.Name, err)
		}
		if pool.used(a) {
			return fmt.Errorf("%w: another site has the address %s too", errTaken, a)
		}
	}
	for _, a := range e.Addrs() {
		pool, _ := t.poolOf(a) // looked up above
		pool.take(a)
	}
	t.Sites[e.Name], t.ids[e.ID] = e, e
	if s.Spec.Scale.Min > 0 {
		t.AlwaysOn = append(t.AlwaysOn, &s.Spec)
	}
	t.OwnUserns = t.OwnUserns || t.host.Cfg.Privileges.OwnUserns(&s.Spec)
	for _, d := range e.Domains {
		t.domains[d] = e.Name
	}
	return nil
}

// SyncListeners brings the listeners of the data path in line with the table.
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
