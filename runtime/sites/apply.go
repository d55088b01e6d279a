package sites

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

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

// Apply implements api.Backend.
func (t *Table) Apply(ctx context.Context, sites []spec.Site, dryRun bool) ([]api.ApplyResult, error) {
	return t.applyFrom(ctx, sites, "", dryRun)
}

// applyFrom creates or updates sites, all or none. source is the file they
// come from, empty for the API.
func (t *Table) applyFrom(ctx context.Context, sites []spec.Site, source string, dryRun bool) ([]api.ApplyResult, error) {
	if t.host.Stopped() {
		return nil, fmt.Errorf("%w: %w", api.ErrUnavailable, life.ErrStopping)
	}
	if err := t.checkPrivileges(sites, source); err != nil {
		return nil, err
	}
	if err := t.checkImages(ctx, sites, source); err != nil {
		return nil, err
	}
	if err := t.checkVolumes(sites, source); err != nil {
		return nil, err
	}
	if err := t.checkUserns(sites, source); err != nil {
		return nil, err
	}
	t.apply.Lock()
	defer t.apply.Unlock()

	changes, err := t.plan(sites, source)
	if err == nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil || dryRun {
		t.giveBack(changes)
		if err != nil {
			return nil, err
		}
		return t.results(changes, true), nil
	}
	if err := t.commit(changes); err != nil {
		t.giveBack(changes)
		return nil, err
	}
	for _, c := range changes {
		if c.action == api.ActionUnchanged {
			t.renewImage(ctx, c)
			continue
		}
		t.announce(c)
	}
	return t.results(changes, false), nil
}

// renewImage circulates a site of which the spec is the same, and the image that
// it names another: a tag that was moved, an archive that was written anew.
func (t *Table) renewImage(ctx context.Context, c change) {
	img, err := t.host.Images.Resolve(ctx, c.record.Spec.Image)
	if err != nil {
		return // told by checkImages, if it matters
	}
	c.old.With(func(l *life.Live) { l.RenewImage(img.Digest) })
}

// checkImages unpacks the sites' images, so that no visitor waits for it, and so
// that a wrong one is found out now. Where specs are read from the folder at a
// start, a missing image (a disk not mounted yet, say) must not keep the other
// sites away: it is told, and tried again at the site's wake.
func (t *Table) checkImages(ctx context.Context, sites []spec.Site, source string) error {
	bad := &api.Error{Code: api.CodeInvalid, Message: "images that cannot be used"}
	tried := map[string]error{}
	for i := range sites {
		s := &sites[i]
		err, known := tried[s.Image]
		if !known {
			_, err = t.host.Images.Resolve(ctx, s.Image)
			tried[s.Image] = err
		}
		if err == nil {
			continue
		}
		if source != "" {
			t.host.Log.Warn("a site's image cannot be used yet", "site", s.Name, "error", err)
			continue
		}
		bad.Details = append(bad.Details, api.Detail{Site: s.Name, Field: "image", Message: err.Error()})
	}
	if len(bad.Details) > 0 {
		return bad
	}
	return nil
}

func (t *Table) results(changes []change, dryRun bool) []api.ApplyResult {
	out := make([]api.ApplyResult, 0, len(changes))
	for _, c := range changes {
		r := api.ApplyResult{Name: c.record.Spec.Name, Action: c.action, Warnings: t.warnings(&c.record.Spec)}
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
// or takes for granted, and this node does not do.
func (t *Table) warnings(s *spec.Site) []string {
	out := append(policy.Unmet(s, t.host.Means.Can), t.host.HeldLong(s)...)
	if missing := resolv.Missing(resolv.FromFile, t.host.Cfg.DNS, s.DNS); missing != "" {
		out = append(out, "dns: "+missing+"; give "+resolv.Remedy)
	}
	return out
}

// announce tells the event log and the site's machine what has changed.
func (t *Table) announce(c change) {
	e, err := t.ByName(c.record.Spec.Name)
	if err != nil {
		return // deleted meanwhile
	}
	t.host.Tell(appliedEvent(c, t.warnings(&c.record.Spec)))
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
