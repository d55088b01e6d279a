package sites

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/network"
)

// SyncRules brings the data path's network rules in line with the table, and with
// the name servers of the node, which may have changed.
func (t *Table) SyncRules() error { return t.rulesWith(nil) }

// rulesWith does so as if these changes were made already.
func (t *Table) rulesWith(changes []change) error {
	if t.Rules == nil {
		return nil
	}
	all := map[string]network.Site{}
	enter := func(e *life.Site) { all[e.Name] = network.Site{ID: e.ID, Addrs: e.Addrs(), Network: e.Network} }
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

// NameOf is the site that has an address; "": none.
func (t *Table) NameOf(a netip.Addr) string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, e := range t.Sites {
		if e.Addr4 == a || e.Addr6 == a {
			return e.Name
		}
	}
	return ""
}

// Refused tells what a site was refused, and the line that would allow it.
func (t *Table) Refused(f bpf.Refusal) {
	e := t.ByID(f.Site)
	if e == nil {
		return
	}
	told, first := t.Rules.Tell(f, t.NameOf)
	if !first {
		return
	}
	ev := event.Event{Site: e.Name, Kind: event.Refused, Reason: told.Reason, Replica: fmt.Sprintf("%s-%d", e.Name, f.Replica)}
	var text []string
	if told.Allow != "" {
		text = append(text, fmt.Sprintf("to allow it: network: {allow: [%q]}", told.Allow))
		ev.Fields = map[string]any{"allow": told.Allow}
	}
	if told.Last {
		text = append(text, "no more destinations are told until its rules change")
	}
	ev.Text = strings.Join(text, "; ")
	t.host.Tell(ev)
}
