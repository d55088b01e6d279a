package node

import (
	"errors"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/store"
)

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
			n.quarantine.takeSite(e.name)
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
		n.routes.changed(e.name)
	}
}
