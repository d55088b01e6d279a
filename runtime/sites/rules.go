package sites

import (
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/network"
)

// SyncRules brings the data path's network rules in line with the table, and with
// the name servers of the node, which may have changed.
func (t *Table) SyncRules() error { return t.rulesWith(nil) }

// FollowResolvers is SyncRules for when nothing but the name servers may have changed:
// what goes wrong is told only.
func (t *Table) FollowResolvers() {
	t.apply.Lock() // an apply's rules are in the data path before its sites are in the table
	defer t.apply.Unlock()
	if err := t.SyncRules(); err != nil {
		t.host.Log.Error("the network rules are not those of the node's name servers", "error", err)
	}
}

// rulesWith is SyncRules as if these changes were made already.
func (t *Table) rulesWith(changes []change) error {
	if t.Rules == nil {
		return nil
	}
	all := map[string]network.Site{}
	enter := func(e *life.Site) {
		all[e.Name] = network.Site{ID: e.ID, Addrs: e.Addrs(), Network: e.Network, Ignore: e.Ignore}
	}
	t.mu.RLock()
	for _, e := range t.Sites {
		enter(e)
	}
	t.mu.RUnlock()
	for _, c := range changes {
		enter(life.New(t.host, c.record))
	}
	return t.Rules.Become(all)
}
