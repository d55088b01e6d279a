package sites

import (
	"errors"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/store"
)

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
	err := t.rulesWith(changes) // before the first packet of a new site
	if err == nil {
		err = t.host.Data.PutListeners(added)
	}
	if err != nil {
		undo := []bpf.Listener{}
		for l := range added {
			undo = append(undo, l)
		}
		return errors.Join(err, t.SyncRules(), t.host.Data.DeleteListeners(undo...), t.putBackListeners(changes),
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
			t.host.Quarantine.TakeSite(e.Name)
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
		t.routes.changed(e.Name)
	}
}
