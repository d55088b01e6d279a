package spec

import (
	"fmt"
	"net/netip"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
)

// Index knows which names, domains and addresses are taken, and where. It is not safe for concurrent use.
type Index struct {
	names   map[string]string
	domains map[string]string
	addrs   map[netip.Addr]string
}

// NewIndex returns an Index in which nothing is taken.
func NewIndex() *Index {
	return &Index{names: map[string]string{}, domains: map[string]string{}, addrs: map[netip.Addr]string{}}
}

// Add takes the name, the domains and the explicit addresses of a site. where says where it is defined, for the error
// of the one who comes second. If any is taken already nothing is added and the error is of type Errors, without positions.
func (x *Index) Add(s *Site, where string) error {
	var errs Errors
	for _, c := range x.conflicts(s) {
		errs = append(errs, invalid(c.field, c.err))
	}
	if len(errs) > 0 {
		return errs
	}
	x.insert(s, func(string) string { return where })
	return nil
}

// Remove gives free what Add took for this site.
func (x *Index) Remove(s *Site) {
	delete(x.names, s.Name)
	for _, d := range s.Domains {
		delete(x.domains, d)
	}
	for _, a := range s.Addresses {
		delete(x.addrs, a)
	}
}

// conflict is something of a site that is taken.
type conflict struct {
	field string
	err   error
}

func (x *Index) conflicts(s *Site) []conflict {
	var all []conflict
	if where, taken := x.names[s.Name]; taken {
		all = append(all, conflict{"name", takenBy(s.Name, where)})
	}
	for i, d := range s.Domains {
		if where, taken := x.domains[d]; taken {
			all = append(all, conflict{fmt.Sprintf("domains[%d]", i), takenBy(d, where)})
		}
	}
	for i, a := range s.Addresses {
		if where, taken := x.addrs[a]; taken {
			all = append(all, conflict{fmt.Sprintf("addresses[%d]", i), takenBy(a.String(), where)})
		}
	}
	return all
}

func takenBy(what, where string) error {
	return strictyaml.Bad("each name, domain and address once on a node", "%q is taken by %s", what, where)
}

// insert takes what is not taken yet.
func (x *Index) insert(s *Site, where func(field string) string) {
	if s.Name != "" { // missing, and reported
		put(x.names, s.Name, where("name"))
	}
	for i, d := range s.Domains {
		put(x.domains, d, where(fmt.Sprintf("domains[%d]", i)))
	}
	for i, a := range s.Addresses {
		put(x.addrs, a, where(fmt.Sprintf("addresses[%d]", i)))
	}
}

func put[K comparable](m map[K]string, key K, where string) {
	if _, taken := m[key]; !taken {
		m[key] = where
	}
}
