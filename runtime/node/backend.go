package node

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/inside"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/sites"
	"github.com/fcnode/fcnode/runtime/status"
)

// backend answers the API: about the table of sites and about their state by what
// those have for it, and by its own methods what needs a site's replicas.
type backend struct {
	*sites.Table
	*sites.Sources
	sites.KeptVolumes
	sites.SpecFiles
	sites.StoredImages
	*status.Status
	inside.Replicas
	host *life.Host
}

// Wake implements api.Backend.
func (b backend) Wake(ctx context.Context, name string) (api.Site, error) {
	e, err := b.ByName(name)
	if err != nil {
		return api.Site{}, err
	}
	if err := e.Wake("asked for by a user"); err != nil {
		return api.Site{}, inside.Wired(name, err)
	}
	err = e.Wait(ctx, func(a *life.Activity) bool {
		return a != nil && (a.Machine.Phase() == site.Running || a.Machine.Phase() == site.Backoff)
	})
	if err != nil && !errors.Is(err, life.ErrParked) {
		return api.Site{}, inside.Wired(name, fmt.Errorf("wait for site %s to run: %w", name, err))
	}
	v := b.View(e)
	if v.Phase == api.PhaseRunning {
		return v, nil
	}
	reason := "it was parked at once"
	if v.Error != nil {
		reason = v.Error.Message
	}
	return v, &api.Error{
		Code: api.CodeUnavailable, Message: fmt.Sprintf("site %q does not start: %s", name, reason),
		Hint: "fcnode logs " + name + " shows what it printed, fcnode events --site " + name + " what was tried",
	}
}

// Park implements api.Backend.
func (b backend) Park(ctx context.Context, name string, force bool) (api.Site, error) {
	e, err := b.ByName(name)
	if err != nil {
		return api.Site{}, err
	}
	e.Send(site.ParkAsked{Reason: "asked for by a user", Force: force})
	err = e.Wait(ctx, func(a *life.Activity) bool {
		if a == nil || len(a.Replicas) == 0 {
			return true
		}
		p := a.Machine.Phase()
		return p == site.Running || p == site.Backoff || p == site.Parked
	})
	if err != nil && !errors.Is(err, life.ErrParked) {
		return api.Site{}, inside.Wired(name, fmt.Errorf("wait for site %s to be parked: %w", name, err))
	}
	v := b.View(e)
	if v.Phase == api.PhaseRunning || v.Phase == api.PhaseWaking {
		return v, staysAwake(name, v.Conns.Now)
	}
	return v, nil
}

// staysAwake says why a site was not parked.
func staysAwake(name string, conns uint64) error {
	if conns == 0 {
		return &api.Error{
			Code: api.CodeBusy, Message: fmt.Sprintf("somebody has just come to site %q, and it stays awake", name),
			Hint: "try again in a few seconds; fcnode park --force " + name + " cuts off who is coming",
		}
	}
	return &api.Error{
		Code: api.CodeBusy, Message: fmt.Sprintf("site %q has %d connections and stays awake", name, conns),
		Hint: "fcnode park --force " + name + " cuts them",
	}
}

// Traces implements api.Backend.
func (b backend) Traces(_ context.Context, name string, limit int) ([]event.Trace, error) {
	e, err := b.ByName(name)
	if err != nil {
		return nil, err
	}
	out := e.TracesUnderWay()
	b.host.Eventlog.Newest(func(ev event.Event) bool {
		if len(out) >= limit {
			return false
		}
		if t, ok := ev.Trace(); ok && t.Site == name {
			out = append(out, t)
		}
		return true
	})
	return out[:min(limit, len(out))], nil
}

// Events implements api.Backend.
func (b backend) Events(ctx context.Context, opts event.Query) iter.Seq2[event.Event, error] {
	return b.host.Eventlog.Events(ctx, opts)
}

// Circulate implements api.Backend. What sleeps of the site is thrown away: its
// next visitor is to find a fresh replica, too.
func (b backend) Circulate(ctx context.Context, name string, newImage bool) (api.Site, error) {
	e, err := b.ByName(name)
	if err != nil {
		return api.Site{}, err
	}
	renewed := false
	if newImage {
		if renewed, err = b.RenewImage(ctx, name); err != nil {
			return api.Site{}, err
		}
	}
	if !renewed { // it circulates already
		e.With(func(l *life.Live) { err = l.Circulate("asked for by a user") })
	}
	if err != nil && !errors.Is(err, life.ErrParked) {
		return api.Site{}, inside.Wired(name, err)
	}
	v := b.View(e)
	if err != nil {
		return v, &api.Error{
			Code: api.CodeUnavailable, Message: fmt.Sprintf("site %q has nothing to replace: it is parked", name),
			Hint: "its next visitor gets a fresh replica; fcnode wake " + name + " starts one now",
		}
	}
	return v, nil
}
