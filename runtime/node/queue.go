package node

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"
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

// takeTurn waits until the replica may start.
func (n *Node) takeTurn(ctx context.Context, e *entry, r *replica) error {
	leave, err := n.starts.enter(ctx)
	if err != nil {
		return fmt.Errorf("wait for other sites to start: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	r.leave = leave
	return nil
}

// endTurn lets the next one start. The caller holds the entry's mu.
func (r *replica) endTurn() {
	if r.leave != nil {
		r.leave()
		r.leave = nil
	}
}
