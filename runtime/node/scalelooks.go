package node

import (
	"context"
	"sync"
	"time"

	"github.com/fcnode/fcnode/bpf"
)

// cause is why a site is looked at: what the kernel told, and when that was. The
// zero value is a look because it was time.
type cause struct {
	kind string // names the metric
	what string // in words
	at   uint64 // CLOCK_MONOTONIC

	value, threshold float64
	replica          bpf.ReplicaID
}

// lookWorkers look at sites side by side: one that waits for a site's lock holds
// nobody up.
const lookWorkers = 4

// mostCauses bounds what is remembered of a site in the queue.
const mostCauses = 8

// first is the earliest that the kernel told; without any the zero value.
func first(causes []cause) (out cause) {
	for _, c := range causes {
		if c.at != 0 && (out.at == 0 || c.at < out.at) {
			out = c
		}
	}
	return out
}

// looks is the queue of sites to look at. A site that is in it already is not put
// there again: what was told meanwhile is seen at the one look, which is timed from the
// first cause.
type looks struct {
	mu     sync.Mutex
	queue  []*entry
	causes map[*entry][]cause
	more   chan struct{} // has one if the queue may have something
}

func newLooks() *looks {
	return &looks{causes: map[*entry][]cause{}, more: make(chan struct{}, 1)}
}

// add never blocks.
func (l *looks) add(e *entry, why cause) {
	l.mu.Lock()
	before, waiting := l.causes[e]
	if !waiting {
		l.queue = append(l.queue, e)
	}
	if len(before) < mostCauses {
		l.causes[e] = append(before, why)
	}
	l.mu.Unlock()
	l.wake()
}

func (l *looks) wake() {
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// take gives the next site, and says whether there is one.
func (l *looks) take() (*entry, []cause, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		return nil, nil, false
	}
	e := l.queue[0]
	l.queue = l.queue[1:]
	why := l.causes[e]
	delete(l.causes, e)
	if len(l.queue) > 0 {
		l.wake()
	}
	return e, why, true
}

// shareOut has those looked at who may have to give something back to others. It does so
// in the background: the caller holds a site's lock, under which others are not looked up.
func (n *Node) shareOut() {
	ids := n.budget.sharing(time.Now())
	if len(ids) == 0 {
		return
	}
	n.work.Go(func() {
		for _, id := range ids {
			if e := n.byID(id); e != nil {
				n.looks.add(e, cause{})
			}
		}
	})
}

// work looks at sites until the context ends.
func (l *looks) work(ctx context.Context, look func(*entry, []cause)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.more:
		}
		for {
			e, why, ok := l.take()
			if !ok {
				break
			}
			look(e, why)
			if ctx.Err() != nil {
				return
			}
		}
	}
}
