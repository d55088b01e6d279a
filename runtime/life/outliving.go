package life

import (
	"context"
	"time"
)

// finishWithin is how long the daemon's end waits for a container that is just being made: it takes some 30 ms, and a few
// seconds on a machine that is short of everything.
const finishWithin = 5 * time.Second

// outliving is ctx for what makes processes run. Visitors may be with them already when it returns, as the data path lets them
// in by itself. So the daemon's end does not break it off at once: the next daemon adopts what comes of it.
func outliving(ctx context.Context, h *Host) (context.Context, context.CancelFunc) {
	lasting, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	end := func() { cancel(context.Cause(ctx)) }
	stop := context.AfterFunc(ctx, func() {
		if h.Stopped() {
			time.AfterFunc(finishWithin, end)
			return
		}
		end()
	})
	return lasting, func() {
		stop()
		cancel(nil)
	}
}
