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
	way  way

	value, threshold float64
	replica          bpf.ReplicaID
}

// way is how far a look has come when: it says where the time between the kernel's event
// and what was done went. CLOCK_MONOTONIC.
type way struct {
	read, begun, locked, counted uint64
}

// fields are the times since the event.
func (w way) fields(at uint64) map[string]any {
	out := map[string]any{}
	for name, when := range map[string]uint64{"read": w.read, "begun": w.begun, "locked": w.locked, "counted": w.counted} {
		if when != 0 {
			out[name] = int64(when - min(at, when))
		}
	}
	return out
}

// Workers look at sites side by side: one that waits for a site's lock holds nobody up. Some are there for sites of
// which something was told, however many others are looked at because it is time.
const (
	toldWorkers = 2
	lookWorkers = 2
)

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

// looks is the queue of sites to look at; those of which something was told come first. A site that is in it already is
// not put there again: what was told meanwhile is seen at the one look, which is timed from the
// first cause.
type looks struct {
	mu      sync.Mutex
	told    []*entry
	routine []*entry // some of them may have been told of since, and looked at
	causes  map[*entry][]cause
	urgent  chan struct{} // has one if somebody may have been told of
	more    chan struct{} // has one if the queue may have something
}

func newLooks() *looks {
	return &looks{causes: map[*entry][]cause{}, urgent: make(chan struct{}, 1), more: make(chan struct{}, 1)}
}

// add never blocks.
func (l *looks) add(e *entry, why cause) {
	l.mu.Lock()
	before, waiting := l.causes[e]
	told := why.at != 0
	switch {
	case told && first(before).at == 0:
		l.told = append(l.told, e)
	case !told && !waiting:
		l.routine = append(l.routine, e)
	}
	if len(before) < mostCauses || told && first(before).at == 0 {
		l.causes[e] = append(before, why)
	}
	l.mu.Unlock()
	poke(l.more)
	if told {
		poke(l.urgent)
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// take gives the next site, and says whether there is one.
func (l *looks) take(onlyTold bool) (*entry, []cause, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, why := l.next(&l.told); e != nil {
		if len(l.told) > 0 {
			poke(l.urgent)
			poke(l.more)
		}
		return e, why, true
	}
	if onlyTold {
		return nil, nil, false
	}
	e, why := l.next(&l.routine)
	if len(l.routine) > 0 {
		poke(l.more)
	}
	return e, why, e != nil
}

// next takes the first of a queue that is still to be looked at. The caller holds l.mu.
func (l *looks) next(queue *[]*entry) (*entry, []cause) {
	for len(*queue) > 0 {
		e := (*queue)[0]
		*queue = (*queue)[1:]
		if why, waiting := l.causes[e]; waiting {
			delete(l.causes, e)
			return e, why
		}
	}
	return nil, nil
}

// work looks at sites until the context ends.
func (l *looks) work(ctx context.Context, onlyTold bool, look func(*entry, []cause)) {
	more := l.more
	if onlyTold {
		more = l.urgent
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-more:
		}
		for {
			e, why, ok := l.take(onlyTold)
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
