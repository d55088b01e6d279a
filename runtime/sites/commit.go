package sites

import (
	"errors"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/store"
)

// commit makes the changes real: on disk in one transaction, then in the data
// path, then in memory. If the data path refuses, the disk is put back.
func (t *Table) commit(changes []change) error {
	var records, before []*store.Site
	for _, c := range changes {
		if !c.writes() {
			continue
		}
		records = append(records, c.record)
		if c.old == nil {
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
	if err := t.host.Store.Replace(records); err != nil {
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
			t.removeFresh(changes), t.host.Store.Put(before))
	}
	if err := t.host.Data.DeleteListeners(removed...); err != nil {
		t.host.Log.Error("ports that were removed are still open", "error", err)
	}
	t.takeOver(changes)
	t.commitEnded(changes)
	return nil
}

// removeFresh takes new sites from the disk again.
func (t *Table) removeFresh(changes []change) error {
	var err error
	for _, c := range changes {
		if c.old != nil || !c.writes() {
			continue
		}
		name := c.record.Spec.Name
		if r, ok := c.ended[name]; ok {
			err = errors.Join(err, t.host.Store.DeleteReserving(name, r))
		} else {
			err = errors.Join(err, t.host.Store.Delete(name))
		}
	}
	return err
}

// listenerChanges says which listeners come and which go.
func (t *Table) listenerChanges(changes []change) (map[bpf.Listener]bpf.ListenerSite, []bpf.Listener) {
	added := map[bpf.Listener]bpf.ListenerSite{}
	var removed []bpf.Listener
	for _, c := range changes {
		if !c.writes() {
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
		if !c.writes() {
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
