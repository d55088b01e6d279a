package bpf

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/cilium/ebpf"
)

// PutListeners makes (VIP, port, protocol) known. A site with listeners and
// nothing else is parked: its first packet is held and reported.
func (d *Datapath) PutListeners(ls map[Listener]ListenerSite) error {
	if len(ls) == 0 {
		return nil
	}
	keys := make([]dpFcListenerKey, 0, len(ls))
	vals := make([]dpFcListener, 0, len(ls))
	for l, s := range ls {
		keys = append(keys, l.key())
		vals = append(vals, s.raw())
	}
	n, err := d.objs.FcListeners.BatchUpdate(keys, vals, nil)
	if err != nil {
		return fmt.Errorf("add listeners to the data path (%d of %d done, room for %d): %w",
			n, len(keys), d.objs.FcListeners.MaxEntries(), err)
	}
	return nil
}

// DeleteListeners makes them unknown: their packets are refused from now on.
func (d *Datapath) DeleteListeners(ls ...Listener) error {
	var errs []error
	for _, l := range ls {
		if err := d.objs.FcListeners.Delete(l.key()); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, fmt.Errorf("take listener %s out of the data path: %w", l, err))
		}
	}
	return errors.Join(errs...)
}

// SiteOf returns the site that has a listener; false: none.
func (d *Datapath) SiteOf(l Listener) (SiteID, bool) {
	var v dpFcListener
	err := d.objs.FcListeners.Lookup(l.key(), &v)
	return SiteID(v.Site), err == nil
}

// listenerBatch is how many listeners one system call reads.
const listenerBatch = 4096

// Listeners returns all that are known.
func (d *Datapath) Listeners() (map[Listener]ListenerSite, error) {
	out := make(map[Listener]ListenerSite)
	keys := make([]dpFcListenerKey, listenerBatch)
	vals := make([]dpFcListener, listenerBatch)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := d.objs.FcListeners.BatchLookup(&cursor, keys, vals, nil)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) { // which is the end
			return nil, fmt.Errorf("list the data path's listeners: %w", err)
		}
		for i, k := range keys[:n] {
			l := Listener{Addr: fromAddr(k.Addr), Port: swap16(k.Port), Proto: Proto(k.Proto)}
			out[l] = vals[i].listenerSite()
		}
		if err != nil {
			return out, nil //nolint:nilerr // the end, see above
		}
	}
}

// SetSite replaces what the data path knows of a site in one step.
func (d *Datapath) SetSite(id SiteID, s Site) error {
	if len(s.Replicas) > MaxReplicas {
		return fmt.Errorf("site %d: %d replicas, the data path has room for %d", id, len(s.Replicas), MaxReplicas)
	}
	v := dpFcSite{N: uint32(len(s.Replicas))}
	if s.Refuse {
		v.Flags |= uint32(dpFcSiteFlagsFC_SITE_REFUSE)
	}
	if s.Sleeps {
		v.Flags |= uint32(dpFcSiteFlagsFC_SITE_SLEEPS)
	}
	for i, r := range s.Replicas {
		v.Replicas[i] = uint32(r.ID)
		v.Forced[i] = r.Forced
		if r.Draining {
			v.Draining |= 1 << i
		}
	}
	if err := d.objs.FcSites.Put(uint32(id), v); err != nil {
		return fmt.Errorf("set site %d in the data path: %w", id, err)
	}
	return nil
}

// ParkSite removes all but the site's listeners: new flows are held again. Its
// trigger and counters go too, as a site that sleeps costs nothing else.
func (d *Datapath) ParkSite(id SiteID) error {
	err := errors.Join(
		ignoreMissing(d.objs.FcSites.Delete(uint32(id))),
		ignoreMissing(d.objs.FcTriggers.Delete(uint32(id))),
		ignoreMissing(d.objs.FcSiteLoads.Delete(uint32(id))),
	)
	if err != nil {
		return fmt.Errorf("park site %d in the data path: %w", id, err)
	}
	return nil
}

// Sites returns every site that is not parked.
func (d *Datapath) Sites() (map[SiteID]Site, error) {
	out := make(map[SiteID]Site)
	var id uint32
	var v dpFcSite
	it := d.objs.FcSites.Iterate()
	for it.Next(&id, &v) {
		s := Site{
			Refuse: v.Flags&uint32(dpFcSiteFlagsFC_SITE_REFUSE) != 0,
			Sleeps: v.Flags&uint32(dpFcSiteFlagsFC_SITE_SLEEPS) != 0,
		}
		for i := range v.N {
			s.Replicas = append(s.Replicas, SiteReplica{
				ID: ReplicaID(v.Replicas[i]), Draining: v.Draining&(1<<i) != 0, Forced: v.Forced[i],
			})
		}
		out[SiteID(id)] = s
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("list the data path's sites: %w", err)
	}
	return out, nil
}

// ClearHold gives a site its whole cap of held packets back, after a release
// or a refusal.
func (d *Datapath) ClearHold(id SiteID) error {
	if err := d.objs.FcHoldCounts.Delete(uint32(id)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("clear the hold count of site %d: %w", id, err)
	}
	return nil
}

// ClearHolds does so for all sites: what a dead daemon held is lost, and its
// clients' retransmissions are to be held anew.
func (d *Datapath) ClearHolds() error {
	var ids []uint32
	var id, n uint32
	it := d.objs.FcHoldCounts.Iterate()
	for it.Next(&id, &n) {
		ids = append(ids, id)
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("list the hold counts: %w", err)
	}
	for _, id := range ids {
		if err := d.ClearHold(SiteID(id)); err != nil {
			return err
		}
	}
	return nil
}

// AllPorts is the mask of the first n ports.
func AllPorts(n int) uint32 {
	if n >= bits.UintSize || n >= MaxPorts {
		return ^uint32(0)
	}
	return 1<<n - 1
}
