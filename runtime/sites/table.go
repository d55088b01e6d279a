package sites

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/policy"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/runtime/store"
)

// Apply implements api.Backend.
func (t *Table) Apply(ctx context.Context, sites []spec.Site, dryRun bool) ([]api.ApplyResult, error) {
	return t.applyFrom(ctx, sites, "", dryRun)
}

// applyFrom creates or updates sites, all or none. source is the file they
// come from, empty for the API.
func (t *Table) applyFrom(ctx context.Context, sites []spec.Site, source string, dryRun bool) ([]api.ApplyResult, error) {
	if t.host.Stopped() {
		return nil, fmt.Errorf("%w: %w", api.ErrUnavailable, life.ErrStopping)
	}
	if err := t.checkImages(ctx, sites, source); err != nil {
		return nil, err
	}
	if err := t.checkVolumes(sites, source); err != nil {
		return nil, err
	}
	t.apply.Lock()
	defer t.apply.Unlock()

	changes, err := t.plan(sites, source)
	if err == nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil || dryRun {
		t.giveBack(changes)
		if err != nil {
			return nil, err
		}
		return t.results(changes, true), nil
	}
	if err := t.commit(changes); err != nil {
		t.giveBack(changes)
		return nil, err
	}
	for _, c := range changes {
		if c.action == api.ActionUnchanged {
			t.renewImage(ctx, c)
			continue
		}
		t.announce(c)
	}
	return t.results(changes, false), nil
}

// renewImage circulates a site of which the spec is the same, and the image that
// it names another: a tag that was moved, an archive that was written anew.
func (t *Table) renewImage(ctx context.Context, c change) {
	img, err := t.host.Images.Resolve(ctx, c.record.Spec.Image)
	if err != nil {
		return // told by checkImages, if it matters
	}
	c.old.With(func(l *life.Live) { l.RenewImage(img.Digest) })
}

// checkImages unpacks the sites' images, so that no visitor waits for it, and so
// that a wrong one is found out now. Where specs are read from the folder at a
// start, a missing image (a disk not mounted yet, say) must not keep the other
// sites away: it is told, and tried again at the site's wake.
func (t *Table) checkImages(ctx context.Context, sites []spec.Site, source string) error {
	bad := &api.Error{Code: api.CodeInvalid, Message: "images that cannot be used"}
	tried := map[string]error{}
	for i := range sites {
		s := &sites[i]
		err, known := tried[s.Image]
		if !known {
			_, err = t.host.Images.Resolve(ctx, s.Image)
			tried[s.Image] = err
		}
		if err == nil {
			continue
		}
		if source != "" {
			t.host.Log.Warn("a site's image cannot be used yet", "site", s.Name, "error", err)
			continue
		}
		bad.Details = append(bad.Details, api.Detail{Site: s.Name, Field: "image", Message: err.Error()})
	}
	if len(bad.Details) > 0 {
		return bad
	}
	return nil
}

func (t *Table) results(changes []change, dryRun bool) []api.ApplyResult {
	out := make([]api.ApplyResult, 0, len(changes))
	for _, c := range changes {
		r := api.ApplyResult{Name: c.record.Spec.Name, Action: c.action, Warnings: policy.Unmet(&c.record.Spec, t.host.Means.Can)}
		if !dryRun || c.old != nil {
			for _, a := range []netip.Addr{c.record.Addr4, c.record.Addr6} {
				if a.IsValid() {
					r.Addresses = append(r.Addresses, a)
				}
			}
		}
		out = append(out, r)
	}
	return out
}

// announce tells the journal and the site's machine what has changed.
func (t *Table) announce(c change) {
	e, err := t.ByName(c.record.Spec.Name)
	if err != nil {
		return // deleted meanwhile
	}
	t.host.Tell(appliedEvent(c, policy.Unmet(&c.record.Spec, t.host.Means.Can)))
	e.With(func(l *life.Live) { l.ChangeSpec(&c.record.Spec) })
	t.KeepAwake(e, &c.record.Spec)
}

// KeepAwake starts sites of which one replica is always to run.
func (t *Table) KeepAwake(e *life.Site, s *spec.Site) {
	if s.Scale.Min == 0 {
		return
	}
	if err := e.Wake("scale.min"); err != nil {
		t.host.Log.Error("cannot start a site that is always to run", "site", e.Name, "error", err)
	}
}

// commit makes the changes real: on disk in one transaction, then in the data
// path, then in memory. If the data path refuses, the disk is put back.
func (t *Table) commit(changes []change) error {
	var records, before []*store.Site
	var fresh []string
	for _, c := range changes {
		if c.action == api.ActionUnchanged {
			continue
		}
		records = append(records, c.record)
		if c.old == nil {
			fresh = append(fresh, c.record.Spec.Name)
			continue
		}
		old, err := t.host.Store.Get(c.old.Name)
		if err != nil {
			return err
		}
		before = append(before, old)
	}
	if len(records) == 0 {
		return nil
	}
	if err := t.host.Store.Put(records); err != nil {
		return err
	}
	added, removed := t.listenerChanges(changes)
	if err := t.host.Data.PutListeners(added); err != nil {
		undo := []bpf.Listener{}
		for l := range added {
			undo = append(undo, l)
		}
		return errors.Join(err, t.host.Data.DeleteListeners(undo...), t.putBackListeners(changes),
			t.host.Store.Delete(fresh...), t.host.Store.Put(before))
	}
	if err := t.host.Data.DeleteListeners(removed...); err != nil {
		t.host.Log.Error("ports that were removed are still open", "error", err)
	}
	t.takeOver(changes)
	return nil
}

// listenerChanges says which listeners come and which go.
func (t *Table) listenerChanges(changes []change) (map[bpf.Listener]bpf.ListenerSite, []bpf.Listener) {
	added := map[bpf.Listener]bpf.ListenerSite{}
	var removed []bpf.Listener
	for _, c := range changes {
		if c.action == api.ActionUnchanged {
			continue
		}
		for l, s := range life.New(t.host, c.record).Listeners() {
			added[l] = s
		}
		if c.old == nil {
			continue
		}
		for l := range c.old.Listeners() {
			if _, stays := added[l]; !stays {
				removed = append(removed, l)
			}
		}
	}
	return added, removed
}

func (t *Table) putBackListeners(changes []change) error {
	old := map[bpf.Listener]bpf.ListenerSite{}
	for _, c := range changes {
		if c.old != nil {
			for l, s := range c.old.Listeners() {
				old[l] = s
			}
		}
	}
	return t.host.Data.PutListeners(old)
}

// takeOver puts the changes into memory.
func (t *Table) takeOver(changes []change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range changes {
		if c.action == api.ActionUnchanged {
			continue
		}
		e := c.old
		if e == nil {
			e = life.New(t.host, c.record)
			t.Sites[e.Name], t.ids[e.ID] = e, e
		} else {
			for _, d := range e.Domains {
				delete(t.domains, d)
			}
			e.With(func(*life.Live) { e.Describe(c.record) })
		}
		for _, d := range e.Domains {
			t.domains[d] = e.Name
		}
	}
}

// Delete implements api.Backend. The site is refused from the first step on,
// and forgotten on disk last: a kill in between leaves a site that is whole.
func (t *Table) Delete(ctx context.Context, name string) error {
	e, err := t.claimForDelete(name)
	if err != nil {
		return err
	}
	err = t.delete(ctx, e)
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

func (t *Table) delete(ctx context.Context, e *life.Site) error {
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
	if err := t.host.Store.Delete(e.Name); err != nil {
		return err
	}
	t.unlist(e)
	e.ForgetExperience()
	t.host.Tell(event.Event{Site: e.Name, Kind: event.Deleted, Reason: "asked for"})
	if err := os.RemoveAll(t.host.LogDir(e.Name)); err != nil {
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

func (t *Table) unlist(e *life.Site) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.Sites, e.Name)
	delete(t.ids, e.ID)
	for _, d := range e.Domains {
		delete(t.domains, d)
	}
	for _, a := range e.Addrs() {
		if pool, err := t.poolOf(a); err == nil {
			pool.free(a)
		}
	}
}

// ApplyDir brings the sites of the specs folder into being, and deletes those
// that came from it and are in it no more. A mistake in any file changes
// nothing: what ran before runs on, and the journal says what is wrong.
func (t *Table) ApplyDir(ctx context.Context) {
	if err := t.tryDir(ctx); err != nil {
		t.host.Log.Error("the specs folder was not applied; the sites stay as they were", "folder", t.host.Cfg.SitesDir, "error", err)
		t.host.Tell(event.Event{Kind: event.Invalid, Reason: "specs folder not applied", Text: err.Error()})
	}
}

func (t *Table) tryDir(ctx context.Context) error {
	dir := t.host.Cfg.SitesDir
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return t.deleteMissing(ctx, nil)
	}
	sites, err := spec.ParseDir(dir)
	if err != nil {
		return err
	}
	if _, err := t.applyFrom(ctx, sites, dir, false); err != nil {
		return err
	}
	keep := make(map[string]bool, len(sites))
	for i := range sites {
		keep[sites[i].Name] = true
	}
	return t.deleteMissing(ctx, keep)
}

func (t *Table) deleteMissing(ctx context.Context, keep map[string]bool) error {
	var errs []error
	for _, e := range t.All() {
		ours := false
		e.With(func(*life.Live) { ours = e.Source == t.host.Cfg.SitesDir })
		if !ours || keep[e.Name] {
			continue
		}
		if err := t.Delete(ctx, e.Name); err != nil {
			errs = append(errs, fmt.Errorf("delete site %s, whose file is gone: %w", e.Name, err))
		}
	}
	return errors.Join(errs...)
}

// Table has the sites of a node.
type Table struct {
	host *life.Host

	AlwaysOn []*spec.Site // found at the start, to be woken once events are read

	mu      sync.RWMutex // guards what follows
	Sites   map[string]*life.Site
	ids     map[bpf.SiteID]*life.Site
	domains map[string]string // to the site's name
	pools   []*addresses

	apply sync.Mutex // one change of the set of sites at a time
}

func NewTable(h *life.Host) *Table {
	t := &Table{host: h, Sites: map[string]*life.Site{}, ids: map[bpf.SiteID]*life.Site{}, domains: map[string]string{}}
	for _, p := range h.Cfg.Prefixes {
		t.pools = append(t.pools, newAddresses(p))
	}
	return t
}

func (t *Table) ByID(id bpf.SiteID) *life.Site {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.ids[id]
}

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

// poolOf finds the prefix that an address lies in. The caller holds n.mu.
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

// plan checks everything that can be wrong and reserves addresses; giveBack
// returns those if it comes to nothing.
func (t *Table) plan(sites []spec.Site, source string) ([]change, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
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
		c, err := t.planSite(s, source)
		if err != nil {
			errs = append(errs, fmt.Errorf("site %q: %w", s.Name, err))
		}
		changes = append(changes, c)
	}
	if total := len(t.Sites) + created(changes); total > t.host.Cfg.MaxSites {
		errs = append(errs, fmt.Errorf("%d sites would be more than maxSites (%d) of the configuration", total, t.host.Cfg.MaxSites))
	}
	if len(errs) > 0 {
		return changes, fmt.Errorf("%w: %w", api.ErrConflict, errors.Join(errs...))
	}
	return changes, nil
}

// planSite plans one. The caller holds n.mu.
func (t *Table) planSite(s *spec.Site, source string) (change, error) {
	c := change{action: api.ActionCreated, record: &store.Site{Source: source, Spec: *s}}
	if old := t.Sites[s.Name]; old != nil {
		if old.Deleting {
			return c, fmt.Errorf("%w: it is being deleted", api.ErrBusy)
		}
		c.old, c.action = old, api.ActionUpdated
		c.record.ID = uint32(old.ID)
		c.record.Addr4, c.record.Addr6 = old.Addr4, old.Addr6
		if old.Digest == life.DigestOf(s) && old.Source == source {
			c.action = api.ActionUnchanged
		}
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
	return c, t.allocate(&c)
}

// allocate gives a new site an address of each family it has none of yet. The
// caller holds n.mu.
func (t *Table) allocate(c *change) error {
	for _, pool := range t.pools {
		v4 := pool.prefix.Addr().Is4()
		if (v4 && c.record.Addr4.IsValid()) || (!v4 && c.record.Addr6.IsValid()) {
			continue
		}
		a, err := pool.allocate()
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
}

// Load fills the tables from disk.
func (t *Table) Load() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var lacking policy.Unprepared
	defer func() {
		if lacking.Sites > 0 {
			t.host.Log.Warn("sites ask for prepared replicas and get none: the configuration allows none (prepared.max)", "sites", lacking.Sites, "one", lacking.Example)
		}
	}()
	return t.host.Store.Readable(func(s *store.Site) error {
		lacking.Add(&s.Spec, t.host.Means.Can)
		e := life.New(t.host, s)
		t.Sites[e.Name], t.ids[e.ID] = e, e
		if s.Spec.Scale.Min > 0 {
			t.AlwaysOn = append(t.AlwaysOn, &s.Spec)
		}
		for _, d := range e.Domains {
			t.domains[d] = e.Name
		}
		for _, a := range e.Addrs() {
			pool, err := t.poolOf(a)
			if err != nil {
				return fmt.Errorf("site %s: %w: put the prefix back into the configuration, or delete the site first", e.Name, err)
			}
			pool.take(a)
		}
		return nil
	}, func(name string, err error) error {
		t.host.Log.Error("a site is not served: its record cannot be read; apply it anew", "site", name, "error", err)
		return nil
	})
}

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
