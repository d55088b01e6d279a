package sites

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/event"
)

// Refusals tells what the data path has refused to the sites of a table.
type Refusals struct{ table *Table }

// Refusals of the sites of this table.
func (t *Table) Refusals() Refusals { return Refusals{t} }

// Read takes them from the data path until the reader is closed.
func (r Refusals) Read(from *bpf.RefusalReader) {
	for {
		f, err := from.Read()
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			r.table.host.Log.Error("a refusal of the data path cannot be read", "error", err)
			continue
		}
		h := r.table.host
		h.Guard(r.table.ByID(f.Site), func() { r.tell(f) })
	}
}

// tell tells what a site was refused, and the line that would allow it.
func (r Refusals) tell(f bpf.Refusal) {
	e := r.table.ByID(f.Site)
	if e == nil {
		return
	}
	told, first := r.table.Rules.Tell(f, r.owner)
	if !first {
		return
	}
	ev := event.Event{Site: e.Name, Kind: event.Refused, Reason: told.Reason, Replica: e.ReplicaName(f.Replica)}
	var text []string
	if told.Allow != "" {
		text = append(text, fmt.Sprintf("to allow it: network: {allow: [%q]}", told.Allow))
		ev.Fields = map[string]any{"allow": told.Allow}
	}
	if told.Last {
		text = append(text, "no more destinations are told until its rules change")
	}
	ev.Text = strings.Join(text, "; ")
	r.table.host.Tell(ev)
}

// owner is the site that has an address; "": none.
func (r Refusals) owner(a netip.Addr) string {
	t := r.table
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, e := range t.Sites {
		if e.Addr4 == a || e.Addr6 == a {
			return e.Name
		}
	}
	return ""
}
