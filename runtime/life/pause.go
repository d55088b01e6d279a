package life

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/fcnode/fcnode/runtime/site"
)

// In a pause no process of a site runs, so that what they have written stays as it
// is. The machine of the site knows nothing of it: what would let a process run
// (a start, a thaw, a stop that asks) waits for the end of the pause, and so does what
// would put one to sleep, as nobody else may touch the freezer meanwhile.
//
// Visitors come in: the kernel of a replica that stands still takes their connections,
// and what starts holds their packets. A daemon that dies in a pause leaves frozen
// replicas that count as awake; the next one thaws them (findTier).

// pause is one that is under way.
type pause struct {
	over  chan struct{}
	still bool // no process may run in it; else none may be started
}

// ErrNoRest means that a site does not come to rest in time.
var ErrNoRest = errors.New("its replicas are still being started, stopped or put to sleep")

// ErrPaused means that somebody else has stopped the site's processes.
var ErrPaused = errors.New("the site is paused already, for a backup or a restore")

// ErrAwake means that a replica of the site runs.
var ErrAwake = errors.New("a replica of it runs")

// unpaused waits for the end of a pause before a step of a replica.
func unpaused(ctx context.Context, st *Site, r *Replica) error {
	return awaitEnd(ctx, st, r, func(*pause) bool { return true })
}

// stoppable waits for the end of a pause in which a replica that is to end may not run.
func stoppable(ctx context.Context, st *Site, r *Replica) error {
	return awaitEnd(ctx, st, r, func(p *pause) bool { return p.still })
}

// awaitEnd waits, before a step of a replica, while there is a pause that forbids it.
func awaitEnd(ctx context.Context, st *Site, r *Replica, forbids func(*pause) bool) error {
	for {
		var over <-chan struct{}
		st.With(func(l *Live) {
			if l.pause == nil || !forbids(l.pause) {
				return
			}
			over = l.pause.over
			r.waits++
			if l.Activity != nil {
				l.notify()
			}
		})
		if over == nil {
			return nil
		}
		var err error
		select {
		case <-over:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		st.With(func(l *Live) {
			r.waits--
			if err == nil && l.Activity != nil && l.Replicas[r.ID] == r {
				restartClock(l, r)
			}
		})
		if err != nil {
			return err
		}
	}
}

// restartClock gives a start, or a thaw, that had to wait all of its time.
func restartClock(l *Live, r *Replica) {
	if m, ok := l.Machine.Replica(r.ID); ok && (m.State == site.Starting || m.State == site.Resuming) {
		l.armStart(r.ID, l.Host.startTimeout(l.Spec))
	}
}

// Pause stops all processes of the site, those of replicas that sleep included, until
// resume is called. It waits for what is under way: at most until ctx ends.
func Pause(ctx context.Context, st *Site) (resume func(), err error) {
	p := &pause{over: make(chan struct{}), still: true}
	st.With(func(l *Live) { err = p.begin(l) })
	if err != nil {
		return nil, err
	}
	var stopped []*Replica
	resume = sync.OnceFunc(func() { p.end(st, stopped) })
	err = await(ctx, st, func(l *Live) bool {
		if !atRest(l) {
			return false
		}
		stopped = toFreeze(l)
		return true
	})
	if err == nil {
		err = freezeAll(ctx, st, stopped)
	}
	if err != nil {
		resume()
		return nil, fmt.Errorf("pause site %s: %w", st.Name, err)
	}
	return resume, nil
}

func (p *pause) begin(l *Live) error {
	switch {
	case l.pause != nil:
		return ErrPaused
	case l.gone:
		return ErrGone
	case l.fault != nil:
		return ErrQuarantined
	}
	l.pause = p
	if l.Activity != nil && p.still {
		for _, r := range l.Replicas {
			r.paused = p.over
		}
	}
	return nil
}

// await waits until the site is as asked for. The site's end is as good.
func await(ctx context.Context, st *Site, is func(*Live) bool) error {
	for {
		var done bool
		var changed <-chan struct{}
		st.With(func(l *Live) {
			if l.Activity == nil {
				done = true
				return
			}
			done, changed = is(l), l.changed
		})
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrNoRest, context.Cause(ctx))
		case <-st.Host.Ctx.Done():
			return ErrStopping
		}
	}
}

// atRest says whether all replicas run, sleep, or wait for the end of the pause.
func atRest(l *Live) bool {
	for id, r := range l.Replicas {
		m, ok := l.Machine.Replica(id)
		switch {
		case r.waits > 0:
		case r.gate != nil && r.Ctr == nil: // it waits at its gate, or is on its way there
		case r.Ctr != nil && exited(r):
		case r.Ctr == nil || !ok || r.stopping:
			return false
		case m.State != site.Ready && m.State != site.Asleep && m.State != site.Draining:
			return false
		}
	}
	return true
}

func exited(r *Replica) bool {
	_, is := r.Ctr.Exit()
	return is
}

// toFreeze are the replicas whose processes run.
func toFreeze(l *Live) []*Replica {
	var out []*Replica
	for _, r := range l.Replicas {
		if r.Ctr != nil && !r.frozen && !exited(r) {
			out = append(out, r)
		}
	}
	return out
}

// freezeAll freezes replicas side by side.
func freezeAll(ctx context.Context, st *Site, all []*Replica) error {
	errs := make([]error, len(all))
	var work sync.WaitGroup
	for i, r := range all {
		work.Go(func() {
			st.Host.Guard(st, func() {
				if err := r.Ctr.Group().Freeze(ctx); err != nil && !exited(r) {
					errs[i] = fmt.Errorf("freeze replica %s: %w", r.Name, err)
				}
			})
		})
	}
	work.Wait()
	return errors.Join(errs...)
}

// end lets the processes run again.
func (p *pause) end(st *Site, stopped []*Replica) {
	ctx := context.WithoutCancel(st.Host.Ctx)
	for _, r := range stopped {
		err := r.Ctr.Group().Thaw(ctx)
		if err == nil || exited(r) {
			continue
		}
		st.With(func(l *Live) {
			if l.Activity != nil && l.Replicas[r.ID] == r {
				st.Host.endStuck(st, r, l.Spec, err)
			}
		})
	}
	st.With(func(l *Live) {
		l.pause = nil
		if l.Activity != nil {
			l.notify()
		}
	})
	close(p.over)
}

// Empty ends all that runs or sleeps of the site, its checkpoint included, and starts
// nothing until reopen is called: visitors are held meanwhile. Without force a site of
// which a replica is awake is left alone. ctx bounds it.
func Empty(ctx context.Context, st *Site, reason string, force bool) (reopen func(), err error) {
	p := &pause{over: make(chan struct{})}
	st.With(func(l *Live) {
		if !force && anyAwake(l) {
			err = ErrAwake
			return
		}
		if err = p.begin(l); err != nil || l.Activity == nil {
			return
		}
		l.handle(site.ParkAsked{Reason: reason, Force: true})
	})
	if err != nil {
		return nil, err
	}
	reopen = sync.OnceFunc(func() { p.end(st, nil) })
	err = await(ctx, st, func(l *Live) bool {
		for _, r := range l.Replicas {
			if r.Ctr != nil && !exited(r) || r.Ctr == nil && r.waits == 0 {
				return false
			}
		}
		return true
	})
	if err != nil {
		reopen()
		return nil, fmt.Errorf("park site %s: %w", st.Name, err)
	}
	st.With(func(l *Live) { l.DropSleep(reason) })
	return reopen, nil
}

// AnyAwake says whether a replica of the site runs, or is about to.
func AnyAwake(st *Site) (is bool) {
	st.With(func(l *Live) { is = anyAwake(l) })
	return is
}

// anyAwake says whether a replica of the site runs, or is about to.
func anyAwake(l *Live) bool {
	if l.Activity == nil {
		return false
	}
	return slices.ContainsFunc(l.Machine.Replicas(), func(r site.Replica) bool {
		return !r.Spare() && r.State != site.Asleep && r.State != site.Stopping
	})
}

// WakeAgain wakes the site again, if one replica of it is always to run: a site that was
// parked by hand does not do so by itself.
func WakeAgain(st *Site, reason string) error {
	if st.Least == 0 {
		return nil
	}
	return st.Wake(reason)
}
