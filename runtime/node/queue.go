package node

import (
	"context"
	"fmt"
	"time"

	"github.com/fcnode/fcnode/runtime/site"
)

// takeTurn waits until the replica may start. Its time to do so counts from then.
func (n *Node) takeTurn(ctx context.Context, e *entry, r *replica, timeout time.Duration) error {
	e.mu.Lock()
	r.queued = true
	e.mu.Unlock()
	begin := time.Now()
	leave, err := n.starts.Enter(ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	r.queued = false
	if err != nil {
		return fmt.Errorf("wait for other sites to start: %w", err)
	}
	r.leave = leave
	if time.Since(begin) > timeout/100 {
		n.armStart(e, r.id, timeout)
	}
	return nil
}

// armStart sets the timer of a start. The caller holds e.mu.
func (n *Node) armStart(e *entry, id site.ReplicaID, after time.Duration) {
	n.arm(e, timerKey{timerStart, id}, after, func() site.Event {
		if r := e.active.replicas[id]; r != nil && r.queued {
			n.armStart(e, id, after)
			return nil
		}
		return site.StartTimedOut{ID: id}
	})
}

// endWake ends what a replica has before others while somebody waits for it. The
// caller holds the entry's mu.
func (r *replica) endWake() {
	r.endTurn()
	if r.woken != nil {
		r.woken()
		r.woken = nil
	}
}

// endTurn lets the next one start. The caller holds the entry's mu.
func (r *replica) endTurn() {
	if r.leave != nil {
		r.leave()
		r.leave = nil
	}
}
