package sites

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/event/eventlog"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/store"
)

// quietData is a data path that notes what sites it was told to refuse.
type quietData struct {
	life.DataPath
	life.Holder
	refused []bpf.SiteID
}

func (d *quietData) SetSite(id bpf.SiteID, s bpf.Site) error {
	if s.Refuse {
		d.refused = append(d.refused, id)
	}
	return nil
}

func (d *quietData) ParkSite(id bpf.SiteID) error {
	d.refused = slices.DeleteFunc(d.refused, func(have bpf.SiteID) bool { return have == id })
	return nil
}

func (d *quietData) ClearHold(bpf.SiteID) error           { return nil }
func (d *quietData) Refuse(bpf.SiteID) (n int, err error) { return 0, nil }

// TestApplyEndsQuarantine: a site whose handling has panicked is refused until it is applied again, though nothing of its spec has
// changed. Others of the same apply are not touched.
func TestApplyEndsQuarantine(t *testing.T) {
	data := &quietData{}
	host := &life.Host{
		Log: slog.New(slog.DiscardHandler), Ctx: t.Context(), Eventlog: eventlog.InMemory(eventlog.Options{}), Data: data, Holder: data,
	}
	n := NewTable(host)
	var changes []change
	for i, name := range []string{"a", "b"} {
		rec := &store.Site{ID: uint32(i + 1), Addr4: netip.MustParseAddr("10.77.0.9")}
		rec.Spec.Name = name
		st := life.New(host, rec)
		n.Sites[name] = st
		changes = append(changes, change{action: api.ActionUnchanged, record: rec, old: st})
	}
	a := n.Sites["a"]
	if host.Guard(a, func() { a.With(func(*life.Live) { panic("a bug") }) }) || !a.Quarantined() || n.Sites["b"].Quarantined() {
		t.Fatal("the site that panicked, and no other, is not quarantined")
	}
	if !slices.Equal(data.refused, []bpf.SiteID{1}) || host.Quarantine.Sites()["a"] == nil {
		t.Fatalf("refused are %v, quarantined %v", data.refused, host.Quarantine.Sites())
	}
	if err := n.endQuarantines(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
	if a.Quarantined() || len(data.refused) != 0 || len(host.Quarantine.Sites()) != 0 {
		t.Errorf("applied again: quarantined %v, refused %v", host.Quarantine.Sites(), data.refused)
	}
	var told []event.Kind
	for ev, err := range host.Eventlog.Events(context.Background(), event.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		told = append(told, ev.Kind)
	}
	if !slices.Equal(told, []event.Kind{event.Quarantined, event.Applied}) {
		t.Errorf("the events are %v", told)
	}
}
