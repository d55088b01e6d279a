package life

import (
	"context"
	"fmt"
	"time"

	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// takeTurn waits until the replica may start, and there is memory for it. Its time to do so counts from then.
func (st *Site) takeTurn(ctx context.Context, r *Replica, trace *wakeTrace, s *spec.Site) error {
	return waitTurn(st, r, s, func(timeout time.Duration) (func(), error) {
		var slot func()
		err := unpaused(ctx, st, r)
		if err == nil {
			slot, err = st.Host.Starts.Enter(ctx, trace.source())
		}
		if err != nil {
			return nil, fmt.Errorf("wait for other sites to start: %w", err)
		}
		has, err := st.Host.Admission.enter(ctx, st, s, 0, timeout)
		if err != nil {
			slot()
			return nil, err
		}
		return func() { slot(); has() }, nil
	})
}

// takeRest waits until there is memory for what a prepared replica, which holds so many bytes, grows by when it runs.
func takeRest(ctx context.Context, st *Site, r *Replica, s *spec.Site, holds uint64) error {
	return waitTurn(st, r, s, func(timeout time.Duration) (func(), error) {
		if err := unpaused(ctx, st, r); err != nil {
			return nil, err
		}
		return st.Host.Admission.enter(ctx, st, s, holds, timeout)
	})
}

// waitTurn does what a replica has to wait for, and keeps what it is to leave when it is up.
func waitTurn(st *Site, r *Replica, s *spec.Site, wait func(time.Duration) (leave func(), err error)) error {
	timeout := st.Host.startTimeout(s)
	st.With(func(*Live) { r.queued = true })
	begin := time.Now()
	leave, err := wait(timeout)
	st.With(func(l *Live) {
		r.queued = false
		if err != nil {
			return
		}
		r.leave = leave
		if time.Since(begin) > timeout/100 {
			l.armStart(r.ID, timeout)
		}
	})
	return err
}

// armStart sets the timer of a start.
func (l *Live) armStart(id site.ReplicaID, after time.Duration) {
	l.arm(timerKey{timerStart, id}, after, func() site.Event {
		r := l.Replicas[id]
		if r != nil && (r.queued || r.waits > 0) {
			l.armStart(id, after)
			return nil
		}
		if r != nil && r.upUnheard(l) {
			if r.closed { // its probe has the time that it would have had
				l.armStart(id, after)
			}
			return nil
		}
		return site.StartTimedOut{ID: id, Reason: l.Host.whyNotUp(l.Replicas[id], l.Spec, after)}
	})
}

// endWake ends what a replica has before others while somebody waits for it.
func (r *Replica) endWake() {
	r.endTurn()
	if r.woken != nil {
		r.woken()
		r.woken = nil
	}
}

// endTurn lets the next one start.
func (r *Replica) endTurn() {
	if r.leave != nil {
		r.leave()
		r.leave = nil
	}
}
