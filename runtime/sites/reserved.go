package sites

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/fcnode/fcnode/runtime/store"
)

// reservations are the addresses of deleted sites, which stay taken in the
// pools. The caller holds Table.mu for all that is here.
type reservations map[string]store.Reservation

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
			t.over = append(t.over, name)
			continue
		}
		for _, a := range []*netip.Addr{&r.Addr4, &r.Addr6} {
			if !a.IsValid() {
				continue
			}
			if pool, err := t.poolOf(*a); err != nil || !pool.take(*a) {
				*a = netip.Addr{}
			}
		}
		t.reserved[name] = r
	}
	return err
}

// reserve keeps the addresses of a site that is deleted.
func (t *Table) reserve(name string, r store.Reservation) {
	if len(t.reserved) >= t.host.Cfg.MaxSites {
		first, _ := t.endFirst()
		t.over = append(t.over, first)
	}
	t.reserved[name] = r
}

// endReservation makes the addresses that are reserved for a name free.
func (t *Table) endReservation(name string) {
	for _, a := range addrsOf(t.reserved[name]) {
		if pool, err := t.poolOf(a); err == nil {
			pool.free(a)
		}
	}
	delete(t.reserved, name)
}

// endReservations ends those whose time is over.
func (t *Table) endReservations(now time.Time) {
	for name, r := range t.reserved {
		if r.Until.Before(now) {
			t.endReservation(name)
			t.over = append(t.over, name)
		}
	}
}

// endFirst ends the reservation that has the least time left; "": there is none.
func (t *Table) endFirst() (first string, r store.Reservation) {
	for name, other := range t.reserved {
		if first == "" || other.Until.Before(r.Until) {
			first, r = name, other
		}
	}
	if first != "" {
		t.endReservation(first)
	}
	return first, r
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
	if r, ok := t.reserved[s.Name]; ok {
		own = addrsOf(r)
		c.end(s.Name, r)
		t.endReservation(s.Name)
	}
	for _, a := range s.Addresses {
		for name, r := range t.reserved {
			if r.Addr4 == a || r.Addr6 == a {
				c.end(name, r)
				t.endReservation(name)
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
		if pool, err := t.poolOf(a); err == nil && pool.take(a) {
			c.taken = append(c.taken, a)
			c.record.SetAddr(a)
		}
	}
}

// reserveAgain undoes what changes have ended that come to nothing.
func (t *Table) reserveAgain(changes []change) {
	for _, c := range changes {
		for name, r := range c.ended {
			for _, a := range addrsOf(r) {
				if pool, err := t.poolOf(a); err == nil {
					pool.take(a)
				}
			}
			t.reserved[name] = r
		}
	}
}

// forgetEnded ends on disk what changes have ended, and what was over. Should that
// fail, they end with their time: addresses that are others' by then stay theirs.
func (t *Table) forgetEnded(changes []change) {
	t.mu.Lock()
	names := t.over
	t.over = nil
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
