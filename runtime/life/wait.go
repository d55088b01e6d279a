package life

import (
	"context"
	"errors"
)

// IsLive says whether anything of the site runs or stands ready.
func (st *Site) IsLive() bool {
	l := st.lock()
	defer l.unlock()
	return l.Activity != nil
}

// Errors of those who wait for a site.
var (
	ErrParked    = errors.New("the site is parked")
	ErrGone      = errors.New("the site is deleted")
	ErrStopping  = errors.New("the daemon is stopping")
	ErrNoReplica = errors.New("no such replica runs")
)

// Wait returns when the site is as asked for, or sleeps.
func (st *Site) Wait(ctx context.Context, is func(*Activity) bool) error {
	for {
		l := st.lock()
		a := l.Activity
		if is(a) {
			l.unlock()
			return nil
		}
		if a == nil {
			l.unlock()
			return ErrParked
		}
		changed := a.changed
		l.unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-st.Host.Ctx.Done():
			return ErrStopping
		}
	}
}
