package sites

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/file"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/store"
)

// Delete implements api.Backend. The site is refused from the first step on,
// and removed from disk last: a kill in between leaves a site that is whole.
//
// Its volumes go with purge only, and last.
func (t *Table) Delete(ctx context.Context, name string, purge bool) error {
	err := t.deleteSite(ctx, name, !purge)
	if purge && errors.Is(err, api.ErrNotFound) { // deleted by a daemon that did not get to its volumes
		if left, listErr := t.host.NamedVolumes.List(name); listErr == nil && len(left) > 0 {
			err = nil
		}
	}
	if err != nil || !purge {
		return err
	}
	t.apply.Lock() // no site of that name comes back meanwhile
	defer t.apply.Unlock()
	if _, err := t.ByName(name); err == nil {
		return fmt.Errorf("site %s is deleted, but not its volumes: %w: there is such a site again", name, api.ErrBusy)
	}
	if err := t.Kept().purge(name); err != nil {
		return fmt.Errorf("site %s is deleted, but not its volumes: %w", name, err)
	}
	return nil
}

func (t *Table) deleteSite(ctx context.Context, name string, reserve bool) error {
	if _, err := t.ByName(name); err != nil && t.host.Quarantine.TakeSite(name) {
		return t.host.Store.Delete(name)
	}
	e, err := t.claimForDelete(name)
	if err != nil {
		return err
	}
	if err = e.Release(ctx); err == nil {
		err = t.delete(ctx, e, reserve)
	}
	if err != nil {
		t.mu.Lock()
		e.Deleting = false
		t.mu.Unlock()
	}
	return err
}

// claimForDelete keeps others from changing or deleting the site meanwhile.
func (t *Table) claimForDelete(name string) (*life.Site, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.Sites[name]
	if e == nil {
		return nil, NotFound(name)
	}
	if e.Deleting {
		return nil, fmt.Errorf("site %q: %w: it is being deleted", name, api.ErrBusy)
	}
	e.Deleting = true
	return e, nil
}

func (t *Table) delete(ctx context.Context, e *life.Site, reserve bool) error {
	var ls []bpf.Listener
	e.With(func(*life.Live) { ls = slices.Collect(maps.Keys(e.Listeners())) })
	if err := t.host.Data.DeleteListeners(ls...); err != nil {
		return err
	}
	if err := t.end(ctx, e); err != nil {
		return err
	}
	e.With(func(l *life.Live) { l.DropSleep("deleted") })
	t.apply.Lock()
	defer t.apply.Unlock()
	remove := func() error { return t.host.Store.Delete(e.Name) }
	var r *store.Reservation
	if keep := time.Duration(t.host.Cfg.Deletion.Reserve); reserve && keep > 0 {
		r = &store.Reservation{Addr4: e.Addr4, Addr6: e.Addr6, Until: time.Now().Add(keep).UTC()}
		remove = func() error { return t.host.Store.DeleteReserving(e.Name, *r) }
	}
	if err := remove(); err != nil {
		return err
	}
	t.unlist(e, r)
	if err := t.SyncRules(); err != nil {
		t.host.Log.Error("network rules of a site that is gone stay until the next change", "site", e.Name, "error", err)
	}
	e.RemoveExperience()
	t.host.Tell(event.Event{Site: e.Name, Kind: event.Deleted, Reason: "asked for"})
	if err := errors.Join(t.host.Disks.Free(e.Name), file.RemoveAll(t.host.LogDir(e.Name))); err != nil {
		return fmt.Errorf("site %s is deleted, but not its log files: %w", e.Name, err)
	}
	return nil
}

// end stops all replicas of a site that is being deleted, and waits for it.
func (t *Table) end(ctx context.Context, e *life.Site) error {
	done := false
	e.With(func(l *life.Live) { done = l.Delete() })
	if done {
		return t.host.Data.ParkSite(e.ID)
	}
	err := e.Wait(ctx, func(a *life.Activity) bool { return a == nil || len(a.Replicas) == 0 })
	if err != nil {
		return fmt.Errorf("wait for the replicas of %s to end: %w", e.Name, err)
	}
	e.With((*life.Live).Deleted)
	return t.host.Data.ParkSite(e.ID)
}

// unlist takes a site from the tables. Its addresses are free, or reserved.
func (t *Table) unlist(e *life.Site, r *store.Reservation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.Sites, e.Name)
	delete(t.ids, e.ID)
	t.routes.changed(e.Name)
	for _, d := range e.Domains {
		delete(t.domains, d)
	}
	if r != nil {
		t.reserved.add(e.Name, *r, t.host.Cfg.MaxSites)
		return
	}
	for _, a := range e.Addrs() {
		if pool, err := t.poolOf(a); err == nil {
			pool.free(a)
		}
	}
}
