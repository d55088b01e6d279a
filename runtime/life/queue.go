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
	timeout := st.Host.startTimeout(s)
	st.With(func(*Live) { r.queued = true })
	begin := time.Now()
	var leave func()
	err := unpaused(ctx, st, r)
	if err == nil {
		leave, err = st.Host.Starts.Enter(ctx, trace.source())
	}
	if err != nil {
		err = fmt.Errorf("wait for other sites to start: %w", err)
	} else {
		slot := leave
		var has func()
		if has, err = st.Host.Admission.enter(ctx, st, s, timeout); err != nil {
			slot()
		} else {
			leave = func() { slot(); has() }
		}
	}
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
