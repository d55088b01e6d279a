package node

import (
	"context"
	"fmt"
	"os"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/site"
)

// Delete implements api.Backend. The site is refused from the first step on,
// and forgotten on disk last: a kill in between leaves a site that is whole.
func (n *Node) Delete(ctx context.Context, name string) error {
	if n.quarantine.takeSite(name) {
		return n.store.Delete(name)
	}
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
	e.mu.Lock()
	n.dropSleep(e, "deleted")
	e.mu.Unlock()
	n.apply.Lock()
	defer n.apply.Unlock()
	if err := n.store.Delete(e.name); err != nil {
		return err
	}
	n.unlist(e)
	n.forgetExperience(e)
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
		n.endScaling(e)
		e.active.notify()
		n.awake.become(e, nil)
	}
	return n.dp.ParkSite(e.id)
}

func (n *Node) unlist(e *entry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.sites, e.name)
	delete(n.ids, e.id)
	n.routes.changed(e.name)
	for _, d := range e.domains {
		delete(n.domains, d)
	}
	for _, a := range e.addrs() {
		if pool, err := n.poolOf(a); err == nil {
			pool.free(a)
		}
	}
}
