package life

import (
	"context"
	"errors"
)

// IsLive says whether anything of the site runs or stands ready.
func (st *Site) IsLive() (live bool) {
	st.With(func(l *Live) { live = l.Activity != nil })
	return live
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
		var done bool
		var changed <-chan struct{}
		st.With(func(l *Live) {
			if done = is(l.Activity); l.Activity != nil {
				changed = l.changed
			}
		})
		if done {
			return nil
		}
		if changed == nil {
			return ErrParked
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-st.Host.Ctx.Done():
			return ErrStopping
		}
	}
}
