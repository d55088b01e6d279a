package sites

import (
	"net/netip"
	"strings"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/store"
)

// change is what an apply does to one site.
type change struct {
	action api.Action
	record *store.Site
	old    *life.Site // nil: created
	taken  []netip.Addr
}

// appliedEvent tells what was applied, and what the node does not do of it.
func appliedEvent(c change, warnings []string) event.Event {
	ev := event.Event{Site: c.record.Spec.Name, Kind: event.Applied, Reason: string(c.action)}
	if len(warnings) > 0 {
		ev.Text = ev.Reason + "; " + strings.Join(warnings, "; ")
		ev.Fields = map[string]any{"warnings": warnings}
	}
	return ev
}
