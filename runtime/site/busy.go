package site

import (
	"fmt"
	"time"

	"github.com/fcnode/fcnode/runtime/event"
)

// busyLook is the time from one look at whether a replica still works to the next.
const busyLook = 30 * time.Second

// work is how long a replica without visitors has been kept awake by work of its own.
type work struct{ since time.Time }

// keeps says what is done instead of putting the replica to sleep: nil if nothing is.
// Work is no visit: when it is over, the replica need not be idle once more.
func (w *work) keeps(p Policy, r *Replica, e IdleOver, rung Rung, now time.Time) []Action {
	if e.Busy == "" {
		return nil
	}
	again := ArmIdle{ID: r.ID, After: min(rung.After, busyLook)}
	if w.since.IsZero() && p.BusyMost > 0 {
		w.since = now
		return []Action{again, Note{
			Kind: event.Busy, Replica: r.ID, Reason: e.Busy,
			Detail: fmt.Sprintf("idle %s, and kept awake for at most %s", rung.After, p.BusyMost),
		}}
	}
	if now.Sub(w.since) < p.BusyMost {
		return []Action{again}
	}
	return nil
}

// over tells of work that was given its whole time, in the reason for the sleep.
func (w *work) over(p Policy, busy string) string {
	if busy == "" || p.BusyMost == 0 {
		return ""
	}
	return fmt.Sprintf(", at work for %s (%s)", p.BusyMost, busy)
}
