package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/runtime/store"
)

// change is what an apply does to one site.
type change struct {
	action api.Action
	record *store.Site
	old    *entry // nil: created
	taken  []netip.Addr
}

// Apply implements api.Backend.
func (n *Node) Apply(ctx context.Context, sites []spec.Site, dryRun bool) ([]api.ApplyResult, error) {
	return n.applyFrom(ctx, sites, "", dryRun)
}

// applyFrom creates or updates sites, all or none. source is the file they
// come from, empty for the API.
func (n *Node) applyFrom(ctx context.Context, sites []spec.Site, source string, dryRun bool) ([]api.ApplyResult, error) {
	if n.stopped() {
		return nil, fmt.Errorf("%w: %w", api.ErrUnavailable, errStopping)
	}
	if err := n.checkImages(ctx, sites, source); err != nil {
		return nil, err
	}
	n.apply.Lock()
	defer n.apply.Unlock()

	changes, err := n.plan(sites, source)
	if err == nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil || dryRun {
		n.giveBack(changes)
		if err != nil {
			return nil, err
		}
		return results(changes, true), nil
	}
	if err := n.commit(changes); err != nil {
		n.giveBack(changes)
		return nil, err
	}
	for _, c := range changes {
		n.announce(c)
	}
	return results(changes, false), nil
}

// checkImages unpacks the sites' images, so that no visitor waits for it, and so
// that a wrong one is found out now. Where specs are read from the folder at a
// start, a missing image (a disk not mounted yet, say) must not keep the other
// sites away: it is told, and tried again at the site's wake.
func (n *Node) checkImages(ctx context.Context, sites []spec.Site, source string) error {
	bad := &api.Error{Code: api.CodeInvalid, Message: "images that cannot be used"}
	tried := map[string]error{}
	for i := range sites {
		s := &sites[i]
		err, known := tried[s.Image]
		if !known {
			_, err = n.images.Resolve(ctx, s.Image)
			tried[s.Image] = err
		}
		if err == nil {
			continue
		}
		if source != "" {
			n.log.Warn("a site's image cannot be used yet", "site", s.Name, "error", err)
			continue
		}
		bad.Details = append(bad.Details, api.Detail{Site: s.Name, Field: "image", Message: err.Error()})
	}
	if len(bad.Details) > 0 {
		return bad
	}
	return nil
}

func results(changes []change, dryRun bool) []api.ApplyResult {
	out := make([]api.ApplyResult, 0, len(changes))
	for _, c := range changes {
		r := api.ApplyResult{Name: c.record.Spec.Name, Action: c.action}
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

// commit makes the changes real: on disk in one transaction, then in the data
// path, then in memory. If the data path refuses, the disk is put back.
func (n *Node) commit(changes []change) error {
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
		old, err := n.store.Get(c.old.name)
		if err != nil {
			return err
		}
		before = append(before, old)
	}
	if len(records) == 0 {
		return nil
	}
	if err := n.store.Put(records); err != nil {
		return err
	}
	added, removed := listenerChanges(changes)
	if err := n.dp.PutListeners(added); err != nil {
		undo := []bpf.Listener{}
		for l := range added {
			undo = append(undo, l)
		}
		return errors.Join(err, n.dp.DeleteListeners(undo...), n.putBackListeners(changes),
			n.store.Delete(fresh...), n.store.Put(before))
	}
	if err := n.dp.DeleteListeners(removed...); err != nil {
		n.log.Error("ports that were removed are still open", "error", err)
	}
	n.takeOver(changes)
	return nil
}

// listenerChanges says which listeners come and which go.
func listenerChanges(changes []change) (map[bpf.Listener]bpf.ListenerSite, []bpf.Listener) {
	added := map[bpf.Listener]bpf.ListenerSite{}
	var removed []bpf.Listener
	for _, c := range changes {
		if c.action == api.ActionUnchanged {
			continue
		}
		for l, s := range newEntry(c.record).listeners() {
			added[l] = s
		}
		if c.old == nil {
			continue
		}
		for l := range c.old.listeners() {
			if _, stays := added[l]; !stays {
				removed = append(removed, l)
			}
		}
	}
	return added, removed
}

func (n *Node) putBackListeners(changes []change) error {
	old := map[bpf.Listener]bpf.ListenerSite{}
	for _, c := range changes {
		if c.old != nil {
			for l, s := range c.old.listeners() {
				old[l] = s
			}
		}
	}
	return n.dp.PutListeners(old)
}

// takeOver puts the changes into memory.
func (n *Node) takeOver(changes []change) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range changes {
		if c.action == api.ActionUnchanged {
			continue
		}
		e := c.old
		if e == nil {
			e = newEntry(c.record)
			n.sites[e.name], n.ids[e.id] = e, e
		} else {
			for _, d := range e.domains {
				delete(n.domains, d)
			}
			e.mu.Lock()
			e.describe(c.record)
			e.mu.Unlock()
		}
		for _, d := range e.domains {
			n.domains[d] = e.name
		}
	}
}

// announce tells the journal and the site's machine what has changed.
func (n *Node) announce(c change) {
	if c.action == api.ActionUnchanged {
		return
	}
	e, err := n.byName(c.record.Spec.Name)
	if err != nil {
		return // deleted meanwhile
	}
	n.journalEvent(api.Event{Site: e.name, Kind: "applied", Reason: string(c.action)})
	e.mu.Lock()
	if e.active != nil {
		e.active.spec = &c.record.Spec
		e.active.machine.SetPolicy(n.policy(&c.record.Spec))
		n.handle(e, site.SpecChanged{})
	}
	e.mu.Unlock()
	n.keepAwake(e, &c.record.Spec)
}

// keepAwake starts sites of which one replica is always to run.
func (n *Node) keepAwake(e *entry, s *spec.Site) {
	if s.Scale.Min == 0 {
		return
	}
	if err := n.wakeUp(e, site.WakeAsked{Reason: "scale.min"}, newTrace(e.name, bpf.Now(), api.StepAsked)); err != nil {
		n.log.Error("cannot start a site that is always to run", "site", e.name, "error", err)
	}
}

// Delete implements api.Backend. The site is refused from the first step on,
// and forgotten on disk last: a kill in between leaves a site that is whole.
func (n *Node) Delete(ctx context.Context, name string) error {
	e, err := n.claimForDelete(name)
	if err != nil {
		return err
	}
	err = n.delete(ctx, e)
	if err != nil {
		n.mu.Lock()
		e.deleting = false
		n.mu.Unlock()
	}
	return err
}

// claimForDelete keeps others from changing or deleting the site meanwhile.
func (n *Node) claimForDelete(name string) (*entry, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	e := n.sites[name]
	if e == nil {
		return nil, notFound(name)
	}
	if e.deleting {
		return nil, fmt.Errorf("site %q: %w: it is being deleted", name, api.ErrBusy)
	}
	e.deleting = true
	return e, nil
}

func (n *Node) delete(ctx context.Context, e *entry) error {
	var ls []bpf.Listener
	e.mu.Lock()
	for l := range e.listeners() {
		ls = append(ls, l)
	}
	e.mu.Unlock()
	if err := n.dp.DeleteListeners(ls...); err != nil {
		return err
	}
	if err := n.end(ctx, e); err != nil {
		return err
	}
	n.apply.Lock()
	defer n.apply.Unlock()
	if err := n.store.Delete(e.name); err != nil {
		return err
	}
	n.unlist(e)
	n.journalEvent(api.Event{Site: e.name, Kind: "deleted", Reason: "asked for"})
	if err := os.RemoveAll(n.logDir(e.name)); err != nil {
		return fmt.Errorf("site %s is deleted, but not its log files: %w", e.name, err)
	}
	return nil
}

// end stops all replicas of a site that is being deleted, and waits for it.
func (n *Node) end(ctx context.Context, e *entry) error {
	e.mu.Lock()
	if e.active == nil {
		e.gone = true
		e.mu.Unlock()
		return n.dp.ParkSite(e.id)
	}
	n.handle(e, site.Deleted{})
	e.mu.Unlock()
	err := n.wait(ctx, e, func(a *active) bool { return a == nil || len(a.replicas) == 0 })
	if err != nil {
		return fmt.Errorf("wait for the replicas of %s to end: %w", e.name, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone = true
	if e.active != nil {
		for _, t := range e.active.timers {
			t.Stop()
		}
		e.active.notify()
		e.active = nil
	}
	return n.dp.ParkSite(e.id)
}

func (n *Node) unlist(e *entry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.sites, e.name)
	delete(n.ids, e.id)
	for _, d := range e.domains {
		delete(n.domains, d)
	}
	for _, a := range e.addrs() {
		if pool, err := n.poolOf(a); err == nil {
			pool.free(a)
		}
	}
}

// errAsleep means that the site went to sleep instead of becoming what was
// waited for.
var errAsleep = errors.New("the site is parked")

// wait returns when the site is as asked for, or sleeps.
func (n *Node) wait(ctx context.Context, e *entry, is func(*active) bool) error {
	for {
		e.mu.Lock()
		a := e.active
		if is(a) {
			e.mu.Unlock()
			return nil
		}
		if a == nil {
			e.mu.Unlock()
			return errAsleep
		}
		changed := a.changed
		e.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-n.ctx.Done():
			return fmt.Errorf("%w: %w", api.ErrUnavailable, errStopping)
		}
	}
}
