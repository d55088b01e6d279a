package node

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/fcnode/fcnode/runtime/site"
)

// startPatience is for how long a start keeps its turn though nobody listens
// yet: it may be waiting for something, and others could use the processor.
const startPatience = 2 * time.Second

// startQueue lets so many replicas start at the same moment as the machine has
// use for, in the order in which they were asked for. All at once would all be
// ready at the very end; in turns the first are ready soon, and the last no later.
type startQueue struct{ turns chan struct{} }

func newStartQueue(parallel int) *startQueue {
	if parallel == 0 {
		parallel = 2 * runtime.GOMAXPROCS(0)
	}
	return &startQueue{turns: make(chan struct{}, parallel)}
}

// enter waits for a turn. It ends by leave, or after startPatience.
func (q *startQueue) enter(ctx context.Context) (leave func(), err error) {
	select { // those who wait are served in the order in which they came
	case q.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	leave = sync.OnceFunc(func() { <-q.turns })
	time.AfterFunc(startPatience, leave)
	return leave, nil
}

// takeTurn waits until the replica may start. Its time to do so counts from then.
func (n *Node) takeTurn(ctx context.Context, e *entry, r *replica, timeout time.Duration) error {
	e.mu.Lock()
	r.queued = true
	e.mu.Unlock()
	begin := time.Now()
	leave, err := n.starts.enter(ctx)
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
