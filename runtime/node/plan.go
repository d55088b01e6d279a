package node

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/runtime/store"
)

// plan checks everything that can be wrong and reserves addresses; giveBack
// returns those if it comes to nothing.
func (n *Node) plan(sites []spec.Site, source string) ([]change, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var changes []change
	var errs []error
	names := map[string]bool{}
	domains := map[string]string{}
	for i := range sites {
		s := &sites[i]
		if names[s.Name] {
			errs = append(errs, fmt.Errorf("site %q is given twice", s.Name))
			continue
		}
		names[s.Name] = true
		for _, d := range s.Domains {
			owner, taken := n.domains[d]
			if !taken {
				owner, taken = domains[d]
			}
			if taken && owner != s.Name {
				errs = append(errs, fmt.Errorf("site %q: domain %s belongs to site %q", s.Name, d, owner))
			}
			domains[d] = s.Name
		}
		c, err := n.planSite(s, source)
		if err != nil {
			errs = append(errs, fmt.Errorf("site %q: %w", s.Name, err))
		}
		changes = append(changes, c)
	}
	if total := len(n.sites) + created(changes); total > n.cfg.MaxSites {
		errs = append(errs, fmt.Errorf("%d sites would be more than maxSites (%d) of the configuration", total, n.cfg.MaxSites))
	}
	if len(errs) > 0 {
		return changes, fmt.Errorf("%w: %w", api.ErrConflict, errors.Join(errs...))
	}
	return changes, nil
}

func created(changes []change) (count int) {
	for _, c := range changes {
		if c.action == api.ActionCreated {
			count++
		}
	}
	return count
}

// planSite plans one. The caller holds n.mu.
func (n *Node) planSite(s *spec.Site, source string) (change, error) {
	c := change{action: api.ActionCreated, record: &store.Site{Source: source, Spec: *s}}
	if old := n.sites[s.Name]; old != nil {
		if old.deleting {
			return c, fmt.Errorf("%w: it is being deleted", api.ErrBusy)
		}
		c.old, c.action = old, api.ActionUpdated
		c.record.ID = uint32(old.id)
		c.record.Addr4, c.record.Addr6 = old.addr4, old.addr6
		if old.digest == digestOf(s) && old.source == source {
			c.action = api.ActionUnchanged
		}
	}
	for _, a := range s.Addresses {
		if c.old != nil && (a == c.old.addr4 || a == c.old.addr6) {
			continue
		}
		if c.old != nil {
			return c, fmt.Errorf("it has the addresses %v; an address cannot be changed in place: delete the site and apply it anew", c.old.addrs())
		}
		pool, err := n.poolOf(a)
		if err != nil {
			return c, err
		}
		if !pool.take(a) {
			return c, fmt.Errorf("address %s is taken by site %q", a, n.ownerOf(a))
		}
		c.taken = append(c.taken, a)
		c.record.SetAddr(a)
	}
	if c.old != nil {
		return c, nil
	}
	return c, n.allocate(&c)
}

// allocate gives a new site an address of each family it has none of yet. The
// caller holds n.mu.
func (n *Node) allocate(c *change) error {
	for _, pool := range n.pools {
		v4 := pool.prefix.Addr().Is4()
		if (v4 && c.record.Addr4.IsValid()) || (!v4 && c.record.Addr6.IsValid()) {
			continue
		}
		a, err := pool.allocate()
		if errors.Is(err, errNoAddress) && n.otherPool(pool) {
			continue
		}
		if err != nil {
			return err
		}
		c.taken = append(c.taken, a)
		c.record.SetAddr(a)
	}
	if !c.record.Addr4.IsValid() && !c.record.Addr6.IsValid() {
		return fmt.Errorf("all prefixes: %w", errNoAddress)
	}
	return nil
}

// otherPool says whether there is one more prefix of that family behind it.
func (n *Node) otherPool(p *addresses) bool {
	seen := false
	for _, q := range n.pools {
		if q == p {
			seen = true
		} else if seen && q.prefix.Addr().Is4() == p.prefix.Addr().Is4() {
			return true
		}
	}
	return false
}

func (n *Node) ownerOf(a netip.Addr) string {
	for _, e := range n.sites {
		if e.addr4 == a || e.addr6 == a {
			return e.name
		}
	}
	return "another of this apply"
}

func (n *Node) giveBack(changes []change) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range changes {
		for _, a := range c.taken {
			if pool, err := n.poolOf(a); err == nil {
				pool.free(a)
			}
		}
	}
}
