package sites

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/fcnode/fcnode/runtime/store"
)

// reservations are the addresses of deleted sites, which stay taken in the pools.
// The table's lock guards them.
type reservations struct {
	pools  []*addresses
	byName map[string]store.Reservation
	over   []string // that are on disk only
}

// free gives an address back to its pool.
func (r *reservations) free(a netip.Addr) {
	for _, p := range r.pools {
		if p.contains(a) {
			p.free(a)
			return
		}
	}
}

// take takes an address out of its pool; false: it is taken, or of no prefix.
func (r *reservations) take(a netip.Addr) bool {
	for _, p := range r.pools {
		if p.contains(a) {
			return p.take(a)
		}
	}
	return false
}

func addrsOf(r store.Reservation) []netip.Addr {
	var out []netip.Addr
	for _, a := range []netip.Addr{r.Addr4, r.Addr6} {
		if a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}

// loadReserved takes over the reservations on disk. Addresses that belong to a
// site by now, or to no prefix any more, are not reserved.
func (t *Table) loadReserved() error {
	all, err := t.host.Store.Reservations()
	for name, r := range all {
		if r.Until.Before(time.Now()) || t.Sites[name] != nil {
			t.reserved.over = append(t.reserved.over, name)
			continue
		}
		for _, a := range []*netip.Addr{&r.Addr4, &r.Addr6} {
			if a.IsValid() && !t.reserved.take(*a) {
				*a = netip.Addr{}
			}
		}
		t.reserved.byName[name] = r
	}
	return err
}

// add keeps the addresses of a site that is deleted; at most so many sites have some.
func (r *reservations) add(name string, kept store.Reservation, most int) {
	if len(r.byName) >= most {
		first, _ := r.endFirst()
		r.over = append(r.over, first)
	}
	r.byName[name] = kept
}

// end makes the addresses that are reserved for a name free.
func (r *reservations) end(name string) {
	for _, a := range addrsOf(r.byName[name]) {
		r.free(a)
	}
	delete(r.byName, name)
}

// endOver ends those whose time is over.
func (r *reservations) endOver(now time.Time) {
	for name, kept := range r.byName {
		if kept.Until.Before(now) {
			r.end(name)
			r.over = append(r.over, name)
		}
	}
}

// endFirst ends the reservation that has the least time left; "": there is none.
func (r *reservations) endFirst() (first string, kept store.Reservation) {
	for name, other := range r.byName {
		if first == "" || other.Until.Before(kept.Until) {
			first, kept = name, other
		}
	}
	if first != "" {
		r.end(first)
	}
	return first, kept
}

// again reserves once more what a change has ended that comes to nothing.
func (r *reservations) again(name string, kept store.Reservation) {
	for _, a := range addrsOf(kept) {
		r.take(a)
	}
	r.byName[name] = kept
}

// end ends a reservation for a change, which may come to nothing.
func (c *change) end(name string, r store.Reservation) {
	if c.ended == nil {
		c.ended = map[string]store.Reservation{}
	}
	c.ended[name] = r
}

// endFor ends the reservations that are in the way of a new site: that of its own
// name, whose addresses it gets, and those of the addresses that its spec names.
func (t *Table) endFor(c *change) (own []netip.Addr) {
	s := &c.record.Spec
	if r, ok := t.reserved.byName[s.Name]; ok {
		own = addrsOf(r)
		c.end(s.Name, r)
		t.reserved.end(s.Name)
	}
	for _, a := range s.Addresses {
		for name, r := range t.reserved.byName {
			if r.Addr4 == a || r.Addr6 == a {
				c.end(name, r)
				t.reserved.end(name)
			}
		}
	}
	return own
}

// comeBack gives a new site those addresses that an earlier one of its name had
// in the families of which it has none.
func (t *Table) comeBack(c *change, own []netip.Addr) {
	for _, a := range own {
		if a.Is4() && c.record.Addr4.IsValid() || a.Is6() && c.record.Addr6.IsValid() {
			continue
		}
		if t.reserved.take(a) {
			c.taken = append(c.taken, a)
			c.record.SetAddr(a)
		}
	}
}

// commitEnded ends on disk what changes have ended, and what was over. Should that
// fail, they end with their time: addresses that are others' by then stay theirs.
func (t *Table) commitEnded(changes []change) {
	t.mu.Lock()
	names := t.reserved.over
	t.reserved.over = nil
	t.mu.Unlock()
	for _, c := range changes {
		names = slices.AppendSeq(names, maps.Keys(c.ended))
	}
	if len(names) == 0 {
		return
	}
	if err := t.host.Store.EndReservations(names...); err != nil {
		t.host.Log.Warn("addresses of deleted sites are still reserved on disk", "error", err)
	}
}
