package life

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/fcnode/fcnode/runtime/site"
)

// Session keeps the replica awake until the returned function is called.
func (st *Site) Session(r *Replica) (done func()) {
	st.With(func(*Live) { r.execs++ })
	return sync.OnceFunc(func() { st.With(func(*Live) { r.execs-- }) })
}

// Running finds the replica asked for, or the oldest that runs.
func (st *Site) Running(ctx context.Context, wanted string) (found *Replica, err error) {
	// One that listens is running for everybody, a little before the daemon knows of its container.
	err = st.Wait(ctx, func(a *Activity) bool { return a == nil || a.allKnown() })
	if err != nil && !errors.Is(err, ErrParked) {
		return nil, fmt.Errorf("wait for the replicas of %s: %w", st.Name, err)
	}
	st.With(func(l *Live) {
		if l.Activity != nil {
			found = l.running(wanted)
		}
	})
	if found == nil {
		return nil, ErrNoReplica
	}
	return found, nil
}

func (a *Activity) running(wanted string) *Replica {
	for _, m := range a.Machine.Replicas() {
		r := a.Replicas[m.ID]
		if r == nil || r.Ctr == nil || m.State == site.Stopping {
			continue
		}
		if wanted == "" || wanted == r.Name {
			return r
		}
	}
	return nil
}

// allKnown says whether the daemon knows the containers of all replicas that listen.
func (a *Activity) allKnown() bool {
	for _, m := range a.Machine.Replicas() {
		if r := a.Replicas[m.ID]; m.State == site.Ready && r != nil && r.Ctr == nil {
			return false
		}
	}
	return true
}
