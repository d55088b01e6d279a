package node

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/runtime/store"
)

// change is what an apply does to one site.
type change struct {
	action api.Action
	record *store.Site
	old    *entry // nil: created
	taken  []netip.Addr
}

// Apply implements api.Backend.
func (n *Node) Apply(ctx context.Context, sites []spec.Site, dryRun bool) ([]api.ApplyResult, error) {
	return n.applyFrom(ctx, sites, "", dryRun)
}

// applyFrom creates or updates sites, all or none. source is the file they
// come from, empty for the API.
func (n *Node) applyFrom(ctx context.Context, sites []spec.Site, source string, dryRun bool) ([]api.ApplyResult, error) {
	if n.stopped() {
		return nil, fmt.Errorf("%w: %w", api.ErrUnavailable, errStopping)
	}
	if err := n.checkImages(ctx, sites, source); err != nil {
		return nil, err
	}
	if err := n.checkVolumes(sites, source); err != nil {
		return nil, err
	}
	n.apply.Lock()
	defer n.apply.Unlock()

	changes, err := n.plan(sites, source)
	if err == nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil || dryRun {
		n.giveBack(changes)
		if err != nil {
			return nil, err
		}
		return n.results(changes, true), nil
	}
	if err := n.commit(changes); err != nil {
		n.giveBack(changes)
		return nil, err
	}
	for _, c := range changes {
		if c.action == api.ActionUnchanged {
			n.renewImage(ctx, c)
			continue
		}
		n.announce(c)
	}
	return n.results(changes, false), nil
}

// renewImage circulates a site of which the spec is the same, and the image that
// it names another: a tag that was moved, an archive that was written anew.
func (n *Node) renewImage(ctx context.Context, c change) {
	img, err := n.images.Resolve(ctx, c.record.Spec.Image)
	if err != nil {
		return // told by checkImages, if it matters
	}
	e := c.old
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.active == nil || e.gone {
		return // a checkpoint says itself which image it is of
	}
	for _, r := range e.active.replicas {
		if r.image != "" && r.image != img.Digest && !r.stopping {
			n.dropSleep(e, "new image")
			n.handle(e, site.CirculateAsked{Reason: "new image"})
			return
		}
	}
}

// checkImages unpacks the sites' images, so that no visitor waits for it, and so
// that a wrong one is found out now. Where specs are read from the folder at a
// start, a missing image (a disk not mounted yet, say) must not keep the other
// sites away: it is told, and tried again at the site's wake.
func (n *Node) checkImages(ctx context.Context, sites []spec.Site, source string) error {
	bad := &api.Error{Code: api.CodeInvalid, Message: "images that cannot be used"}
	tried := map[string]error{}
	for i := range sites {
		s := &sites[i]
		err, known := tried[s.Image]
		if !known {
			_, err = n.images.Resolve(ctx, s.Image)
			tried[s.Image] = err
		}
		if err == nil {
			continue
		}
		if source != "" {
			n.log.Warn("a site's image cannot be used yet", "site", s.Name, "error", err)
			continue
		}
		bad.Details = append(bad.Details, api.Detail{Site: s.Name, Field: "image", Message: err.Error()})
	}
	if len(bad.Details) > 0 {
		return bad
	}
	return nil
}

func (n *Node) results(changes []change, dryRun bool) []api.ApplyResult {
	out := make([]api.ApplyResult, 0, len(changes))
	for _, c := range changes {
		r := api.ApplyResult{Name: c.record.Spec.Name, Action: c.action, Warnings: notHad(&c.record.Spec, n.can)}
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

// announce tells the journal and the site's machine what has changed.
func (n *Node) announce(c change) {
	e, err := n.byName(c.record.Spec.Name)
	if err != nil {
		return // deleted meanwhile
	}
	n.tell(appliedEvent(c, notHad(&c.record.Spec, n.can)))
	e.mu.Lock()
	n.dropSleep(e, "spec changed")
	if e.active != nil {
		apart := !slices.Equal(e.active.spec.Ports, c.record.Spec.Ports) // a port's bit is its place in the list
		e.active.spec = &c.record.Spec
		n.newLadder(e)
		n.handle(e, site.SpecChanged{Apart: apart})
	}
	e.mu.Unlock()
	n.keepAwake(e, &c.record.Spec)
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

// keepAwake starts sites of which one replica is always to run.
func (n *Node) keepAwake(e *entry, s *spec.Site) {
	if s.Scale.Min == 0 {
		return
	}
	if err := n.wakeUp(e, site.WakeAsked{Reason: "scale.min"}, newTrace(e.name, bpf.Now(), event.StepAsked)); err != nil {
		n.log.Error("cannot start a site that is always to run", "site", e.name, "error", err)
	}
}
