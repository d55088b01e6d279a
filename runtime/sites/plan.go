package sites

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/runtime/store"
)

func created(changes []change) (count int) {
	for _, c := range changes {
		if c.action == api.ActionCreated {
			count++
		}
	}
	return count
}

// NotFound is the API's error for a site that the node does not have.
func NotFound(name string) error {
	return &api.Error{
		Code: api.CodeNotFound, Message: fmt.Sprintf("site %q: not found", name),
		Hint: "fcnode list shows the sites of this node",
	}
}

// plan checks everything that can be wrong and reserves addresses; giveBack
// returns those if it comes to nothing.
func (t *Table) plan(sites []spec.Site, from origin, images map[string]found) ([]change, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reserved.endOver(time.Now())
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
			owner, taken := t.domains[d]
			if !taken {
				owner, taken = domains[d]
			}
			if taken && owner != s.Name {
				errs = append(errs, fmt.Errorf("site %q: domain %s belongs to site %q", s.Name, d, owner))
			}
			domains[d] = s.Name
		}
		c, err := t.planSite(s, from, images[s.Name])
		if err != nil {
			errs = append(errs, fmt.Errorf("site %q: %w", s.Name, err))
		}
		changes = append(changes, c)
	}
	if err := t.roomForPorts(changes); err != nil {
		errs = append(errs, err)
	}
	if total := len(t.Sites) + created(changes); total > t.host.Cfg.MaxSites {
		errs = append(errs, fmt.Errorf("%d sites would be more than maxSites (%d) of the configuration", total, t.host.Cfg.MaxSites))
	}
	if len(errs) > 0 {
		return changes, fmt.Errorf("%w: %w", api.ErrConflict, errors.Join(errs...))
	}
	return changes, nil
}

// roomForPorts says whether the data path's table has room for all ports. Those that a
// site gives up are in it until its new ones are.
func (t *Table) roomForPorts(changes []change) error {
	need, more := 0, 0
	for _, e := range t.Sites {
		need += spec.CountPorts(e.Ports) * len(e.Addrs())
	}
	for _, c := range changes {
		if c.record == nil || !c.writes() {
			continue
		}
		var old map[bpf.Listener]bpf.ListenerSite
		if c.old != nil {
			old = c.old.Listeners()
		}
		for l := range life.New(t.host, c.record).Listeners() {
			if _, has := old[l]; !has {
				more++
			}
		}
	}
	if room := bpf.ListenersOfSite * t.host.Cfg.MaxSites; more > 0 && need+more > room {
		return fmt.Errorf("the ports of all sites, each on each of its addresses, would be %d, and the kernel's table has room for %d: "+
			"shorten a range of ports, or raise maxSites (%d) of the configuration", need+more, room, t.host.Cfg.MaxSites)
	}
	return nil
}

// planSite plans one.
func (t *Table) planSite(s *spec.Site, from origin, f found) (change, error) {
	c := change{action: api.ActionCreated, record: &store.Site{Source: from.source, Spec: *s}, image: f.digest}
	if f.warning != "" {
		c.warnings = append(c.warnings, f.warning)
	}
	if life.CanPin(s.Image) {
		c.record.Image = f.digest
	}
	if f.image != nil {
		_, _, err := s.AllVolumes(f.image.Config.Volumes)
		if err != nil && !from.lenient() {
			return c, err
		}
		if err != nil { // what a tenant's image declares keeps no other site of the folder back
			c.warnings = append(c.warnings, "it cannot start: "+err.Error())
		}
	}
	if old := t.Sites[s.Name]; old != nil {
		if old.Deleting {
			return c, fmt.Errorf("%w: it is being deleted", api.ErrBusy)
		}
		c.old, c.action = old, api.ActionUpdated
		c.record.ID = uint32(old.ID)
		c.record.Addr4, c.record.Addr6 = old.Addr4, old.Addr6
		if old.Digest == life.DigestOf(s) && old.Source == from.source {
			c.planImage()
		}
	}
	var own []netip.Addr
	if c.old == nil {
		own = t.endFor(&c)
	}
	for _, a := range s.Addresses {
		if c.old != nil && (a == c.old.Addr4 || a == c.old.Addr6) {
			continue
		}
		if c.old != nil {
			return c, fmt.Errorf("it has the addresses %v; an address cannot be changed in place: delete the site and apply it anew", c.old.Addrs())
		}
		pool, err := t.poolOf(a)
		if err != nil {
			return c, err
		}
		if !pool.take(a) {
			return c, fmt.Errorf("address %s is taken by site %q", a, t.ownerOf(a))
		}
		c.taken = append(c.taken, a)
		c.record.SetAddr(a)
	}
	if c.old != nil {
		return c, nil
	}
	t.comeBack(&c, own)
	return c, t.allocate(&c)
}

// planImage plans a site of which the image alone may have changed.
func (c *change) planImage() {
	var before string
	c.old.With(func(*life.Live) { before = c.old.Pinned.Value() })
	c.pinned = c.record.Image != before
	if before == "" || !c.pinned {
		c.action = api.ActionUnchanged
	}
}

// allocate gives a new site an address of each family it has none of yet.
func (t *Table) allocate(c *change) error {
	for _, pool := range t.pools {
		v4 := pool.prefix.Addr().Is4()
		if (v4 && c.record.Addr4.IsValid()) || (!v4 && c.record.Addr6.IsValid()) {
			continue
		}
		a, err := pool.allocate()
		for errors.Is(err, errNoAddress) && !t.otherPool(pool) {
			name, r := t.reserved.endFirst()
			if name == "" {
				break
			}
			c.end(name, r)
			a, err = pool.allocate()
		}
		if errors.Is(err, errNoAddress) && t.otherPool(pool) {
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
func (t *Table) otherPool(p *addresses) bool {
	seen := false
	for _, q := range t.pools {
		if q == p {
			seen = true
		} else if seen && q.prefix.Addr().Is4() == p.prefix.Addr().Is4() {
			return true
		}
	}
	return false
}

func (t *Table) ownerOf(a netip.Addr) string {
	for _, e := range t.Sites {
		if e.Addr4 == a || e.Addr6 == a {
			return e.Name
		}
	}
	return "another of this apply"
}

func (t *Table) giveBack(changes []change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range changes {
		for _, a := range c.taken {
			if pool, err := t.poolOf(a); err == nil {
				pool.free(a)
			}
		}
	}
	for _, c := range changes {
		for name, r := range c.ended {
			t.reserved.again(name, r)
		}
	}
}
