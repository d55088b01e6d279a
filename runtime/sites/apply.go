package sites

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/fcnode/fcnode/netctl"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/policy"
	"github.com/fcnode/fcnode/runtime/resolv"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/runtime/store"
)

// change is what an apply does to one site.
type change struct {
	action api.Action
	record *store.Site
	old    *life.Site // nil: created
	taken  []netip.Addr

	ended    map[string]store.Reservation // by it, by the names of deleted sites
	image    string                       // digest of what it is to run from, also of a folder; empty: not known
	pinned   bool                         // all that changes is that its image is pinned, to another one where it was
	warnings []string
	notes    []string
}

// writes says whether the record changes.
func (c *change) writes() bool { return c.action != api.ActionUnchanged || c.pinned }

// appliedEvent tells what was applied, and what the node does not do of it.
func appliedEvent(c change, warnings []string) event.Event {
	ev := event.Event{Site: c.record.Spec.Name, Kind: event.Applied, Reason: string(c.action)}
	if len(warnings) > 0 {
		ev.Text = ev.Reason + "; " + strings.Join(warnings, "; ")
		ev.Fields = map[string]any{"warnings": warnings}
	}
	return ev
}

// Apply implements api.Backend.
func (t *Table) Apply(ctx context.Context, sites []spec.Site, dryRun bool) ([]api.ApplyResult, error) {
	return t.applyFrom(ctx, sites, origin{anew: true, asked: true}, dryRun)
}

// applyFrom creates or updates sites, all or none.
func (t *Table) applyFrom(ctx context.Context, sites []spec.Site, from origin, dryRun bool) ([]api.ApplyResult, error) {
	images, err := t.findImages(ctx, sites, from)
	if err != nil {
		return nil, err
	}
	changes, err := t.applyWith(ctx, sites, from, images, dryRun)
	if changes == nil && err != nil {
		return nil, err
	}
	return t.results(changes, dryRun), err
}

// applyWith applies sites with the images that findImages has found for them. With
// an error it returns changes if they were made nevertheless.
func (t *Table) applyWith(ctx context.Context, sites []spec.Site, from origin, images map[string]found, dryRun bool) ([]change, error) {
	c := checks{t.host.Cfg, t.host.Log}
	if err := c.volumes(sites, from); err != nil {
		return nil, err
	}
	if err := c.secrets(sites, from); err != nil {
		return nil, err
	}
	if err := c.userns(sites, from); err != nil {
		return nil, err
	}
	if err := c.appArmor(sites, from, t.host.AppArmor); err != nil {
		return nil, err
	}
	if err := c.classes(sites, from, t.host); err != nil {
		return nil, err
	}
	changes, err := t.applyNow(ctx, sites, from, images, dryRun)
	if err != nil {
		return nil, err
	}
	if !dryRun {
		err = t.endQuarantines(ctx, changes)
	}
	return changes, err
}

// applyNow plans, and makes real what was planned.
func (t *Table) applyNow(ctx context.Context, sites []spec.Site, from origin, images map[string]found, dryRun bool) ([]change, error) {
	t.apply.Lock()
	defer t.apply.Unlock()

	changes, err := t.plan(sites, from, images)
	if err == nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	for i := range changes { // not while the table is held, as it looks at a disk
		c := &changes[i]
		img := images[c.record.Spec.Name].image
		c.noteVolumes(img, t.host.NamedVolumes)
		if c.action != api.ActionUnchanged {
			if warning := life.NotMapped(t.host, &c.record.Spec, img); warning != "" {
				c.warnings = append(c.warnings, warning)
			}
		}
	}
	if err != nil || dryRun {
		t.giveBack(changes)
		return changes, err
	}
	if err := t.commit(changes); err != nil {
		t.giveBack(changes)
		return nil, err
	}
	t.fillVolumes(changes, images)
	for _, c := range changes {
		t.announce(c)
	}
	return changes, nil
}

// endQuarantines has sites served again whose handling has panicked: who applies
// them has seen that.
func (t *Table) endQuarantines(ctx context.Context, changes []change) error {
	var errs []error
	for _, c := range changes {
		if c.old == nil || !c.old.Quarantined() {
			continue
		}
		if err := c.old.Release(ctx); err != nil {
			errs = append(errs, err)
			continue
		}
		t.host.Tell(event.Event{Site: c.old.Name, Kind: event.Applied, Reason: "quarantine ended"})
		t.KeepAwake(c.old, &c.record.Spec)
	}
	return errors.Join(errs...)
}

func (t *Table) results(changes []change, dryRun bool) []api.ApplyResult {
	out := make([]api.ApplyResult, 0, len(changes))
	for _, c := range changes {
		r := api.ApplyResult{Name: c.record.Spec.Name, Action: c.action, Warnings: t.warnings(c, changes), Notes: c.notes}
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

// warnings are what the one who applies a spec is to know of it: what it asks for,
// or takes for granted, and this node does not do, or does differently. with is what is
// applied beside it and may not be in the table yet.
func (t *Table) warnings(c change, with []change) []string {
	s := &c.record.Spec
	out := append(policy.Unmet(s, t.host.Means.Can), t.host.HeldLong(s)...)
	out = append(append(out, t.host.NotLooked(s)...), policy.Costs(s)...)
	out = append(out, unreachable(s, func(name string) bool {
		_, err := t.ByName(name)
		return err == nil || slices.ContainsFunc(with, func(o change) bool { return o.record.Spec.Name == name })
	})...)
	if missing := resolv.Missing(os.ReadFile, t.host.Cfg.DNS, s.DNS); missing != "" {
		out = append(out, "dns: "+missing+"; give "+resolv.Remedy)
	}
	if self := IgnoredSelf(s.Ignore, net.InterfaceAddrs); self != "" {
		out = append(out, self)
	}
	out = append(out, Unanswered(s.Network, netctl.AnswersFrom)...)
	return append(out, c.warnings...)
}

// announce tells the event log and the site's machine what has changed.
func (t *Table) announce(c change) {
	e, err := t.ByName(c.record.Spec.Name)
	if err != nil {
		return // deleted meanwhile
	}
	if c.action != api.ActionUnchanged {
		t.host.Tell(appliedEvent(c, append(t.warnings(c, nil), c.notes...)))
	}
	if c.action == api.ActionUnchanged || c.pinned {
		e.With(func(l *life.Live) {
			if c.action == api.ActionUpdated {
				l.DropSleep("new image")
			}
			if c.image != "" {
				l.RenewImage(c.image)
			}
		})
		return
	}
	e.With(func(l *life.Live) { l.ChangeSpec(&c.record.Spec) })
	t.KeepAwake(e, &c.record.Spec)
}

// KeepAwake starts sites of which one replica is always to run.
func (t *Table) KeepAwake(e *life.Site, s *spec.Site) {
	if s.Scale.Min == 0 {
		return
	}
	if err := e.Wake("scale.min"); err != nil {
		t.host.Log.Error("cannot start a site that is always to run", "site", e.Name, "error", err)
	}
}
