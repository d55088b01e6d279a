package node

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/site"
)

var _ api.Backend = (*Node)(nil)

// Wake implements api.Backend.
func (n *Node) Wake(ctx context.Context, name string) (api.Site, error) {
	e, err := n.byName(name)
	if err != nil {
		return api.Site{}, err
	}
	if err := n.wakeUp(e, site.WakeAsked{Reason: "asked for by a user"}, newTrace(name, bpf.Now(), event.StepAsked)); err != nil {
		return api.Site{}, err
	}
	err = n.wait(ctx, e, func(a *active) bool {
		return a != nil && (a.machine.Phase() == site.Running || a.machine.Phase() == site.Backoff)
	})
	if err != nil && !errors.Is(err, errAsleep) {
		return api.Site{}, fmt.Errorf("wait for site %s to run: %w", name, err)
	}
	v := n.view(e)
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
func (n *Node) Park(ctx context.Context, name string, force bool) (api.Site, error) {
	e, err := n.byName(name)
	if err != nil {
		return api.Site{}, err
	}
	n.send(e, site.ParkAsked{Reason: "asked for by a user", Force: force})
	err = n.wait(ctx, e, func(a *active) bool {
		if a == nil || len(a.replicas) == 0 {
			return true
		}
		p := a.machine.Phase()
		return p == site.Running || p == site.Backoff || p == site.Parked
	})
	if err != nil && !errors.Is(err, errAsleep) {
		return api.Site{}, fmt.Errorf("wait for site %s to be parked: %w", name, err)
	}
	v := n.view(e)
	if v.Phase == api.PhaseRunning || v.Phase == api.PhaseWaking {
		return v, &api.Error{
			Code: api.CodeBusy, Message: fmt.Sprintf("site %q has %d connections and stays awake", name, v.Conns.Now),
			Hint: "fcnode park --force " + name + " cuts them",
		}
	}
	return v, nil
}

// Traces implements api.Backend.
func (n *Node) Traces(_ context.Context, name string, limit int) ([]event.Trace, error) {
	e, err := n.byName(name)
	if err != nil {
		return nil, err
	}
	out := n.tracesUnderWay(e)
	n.eventlog.Newest(func(ev event.Event) bool {
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

func (n *Node) tracesUnderWay(e *entry) []event.Trace {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := []event.Trace{}
	if e.active == nil {
		return out
	}
	for _, r := range e.active.replicas {
		if r.trace != nil {
			out = append(out, r.trace.current())
		}
	}
	return out
}

// Events implements api.Backend.
func (n *Node) Events(ctx context.Context, opts event.Query) iter.Seq2[event.Event, error] {
	return n.eventlog.Events(ctx, opts)
}
