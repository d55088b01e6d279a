package routes

import (
	"reflect"
	"slices"
	"strings"
	"sync"
)

// Site is a site in the table. It is replaced when its route changes; its State stays.
type Site struct {
	Route
	State any
}

// Entry is what one host name leads to.
type Entry struct {
	Site *Site
	// Canonical is the name to which visitors of this one are sent, "" where it is served.
	Canonical string
}

// Table finds sites by host name. Any number of goroutines may look up while one changes it.
type Table struct {
	// listed are the names of specs; implied those that follow from www:, which give way to names that another site lists.
	listed, implied sync.Map // of string to Entry
	// NewState makes the State of a site that comes.
	NewState func() any

	mu    sync.Mutex // guards what follows; held while the table changes
	sites map[string]*Site
}

// Lookup finds a host in normal form.
func (t *Table) Lookup(host string) (Entry, bool) {
	v, ok := t.listed.Load(host)
	if !ok {
		v, ok = t.implied.Load(host)
	}
	if !ok {
		return Entry{}, false
	}
	return v.(Entry), true
}

// Sites gives all sites in no order.
func (t *Table) Sites() []*Site {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]*Site, 0, len(t.sites))
	for _, s := range t.sites {
		out = append(out, s)
	}
	return out
}

// Put adds a site, or changes it.
func (t *Table) Put(r Route) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.put(r)
}

func (t *Table) put(r Route) {
	if t.sites == nil {
		t.sites = map[string]*Site{}
	}
	old := t.sites[r.Site]
	if old != nil && reflect.DeepEqual(old.Route, r) {
		return
	}
	site := &Site{Route: r}
	switch {
	case old != nil:
		site.State = old.State
	case t.NewState != nil:
		site.State = t.NewState()
	}
	t.sites[r.Site] = site
	listed, implied := entries(site)
	// The new names first: a name that stays is never missing.
	for name, e := range listed {
		t.listed.Store(name, e)
	}
	for name, e := range implied {
		t.implied.Store(name, e)
	}
	if old != nil {
		t.unlink(old, listed, implied)
	}
}

// Remove drops a site.
func (t *Table) Remove(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remove(name)
}

func (t *Table) remove(name string) {
	if old := t.sites[name]; old != nil {
		delete(t.sites, name)
		t.unlink(old, nil, nil)
	}
}

// Replace makes the table what the routes say.
func (t *Table) Replace(routes []Route) {
	t.mu.Lock()
	defer t.mu.Unlock()
	stay := make(map[string]bool, len(routes))
	for _, r := range routes {
		stay[r.Site] = true
		t.put(r)
	}
	for name := range t.sites {
		if !stay[name] {
			t.remove(name)
		}
	}
}

// unlink takes away the names of a site that it has no more and that are not another's by now.
func (t *Table) unlink(old *Site, listed, implied map[string]Entry) {
	wasListed, wasImplied := entries(old)
	for name := range wasListed {
		if _, stays := listed[name]; !stays {
			deleteOf(&t.listed, name, old.Site)
		}
	}
	for name := range wasImplied {
		if _, stays := implied[name]; !stays {
			deleteOf(&t.implied, name, old.Site)
		}
	}
}

func deleteOf(names *sync.Map, name, site string) {
	if v, ok := names.Load(name); ok && v.(Entry).Site.Site == site {
		names.Delete(name)
	}
}

// entries gives the names of a site, those that it lists and those that follow from www.
func entries(s *Site) (listed, implied map[string]Entry) {
	listed, implied = make(map[string]Entry, len(s.Domains)), map[string]Entry{}
	for _, name := range s.Domains {
		canonical := name
		apex := strings.TrimPrefix(name, "www.")
		switch s.WWW {
		case "apex":
			canonical = apex
		case "www":
			canonical = "www." + apex
		}
		entry := Entry{Site: s}
		if canonical != name {
			entry.Canonical = canonical
		}
		listed[name] = entry
		if s.WWW == "" {
			continue
		}
		other, to := apex, "www."+apex
		if s.WWW == "apex" {
			other, to = "www."+apex, apex
		}
		for _, e := range []struct{ name, canonical string }{{other, to}, {to, ""}} {
			if !slices.Contains(s.Domains, e.name) {
				implied[e.name] = Entry{Site: s, Canonical: e.canonical}
			}
		}
	}
	return listed, implied
}
