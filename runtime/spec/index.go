package spec

import (
	"fmt"
	"net/netip"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
)

// index knows which names, domains and addresses are taken, and where.
type index struct {
	names   map[string]string
	domains map[string]string
	addrs   map[netip.Addr]string
}

func newIndex() *index {
	return &index{names: map[string]string{}, domains: map[string]string{}, addrs: map[netip.Addr]string{}}
}

// conflict is something of a site that is taken.
type conflict struct {
	field string
	err   error
}

func (x *index) conflicts(s *Site) []conflict {
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
func (x *index) insert(s *Site, where func(field string) string) {
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
