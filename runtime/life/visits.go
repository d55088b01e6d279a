package life

import (
	"time"

	"github.com/fcnode/fcnode/runtime/policy"
)

// came notes the connections of a replica, which are read before it goes to sleep
// and before it ends.
func (l *Live) came(r *Replica, total uint64) {
	if l.Spec.Objective.Cold.Share() == 0 {
		return
	}
	l.past().came += total - min(r.came, total)
	r.came = total
}

// countWake notes what came since the last wake, when the next one is over.
func (h *history) countWake(x *policy.Experience, took time.Duration, now time.Time, share float64) {
	since := time.Duration(0)
	if !x.Woke.IsZero() {
		since = max(0, now.Sub(x.Woke))
	}
	x.CountWake(h.came, took, since, share)
	h.came, x.Woke = 0, now
}
