package scale

import (
	"context"
	"sync"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/priority"
)

// Cause is why a site is evaluated: what the kernel told, and when that was. The
// zero value is one because it was time.
type Cause struct {
	kind string // names the metric
	what string // in words
	at   uint64 // CLOCK_MONOTONIC
	way  way

	value, threshold float64
	replica          bpf.ReplicaID
}

// way is how far an evaluation has come when: it says where the time between the kernel's event
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

// workers evaluate sites side by side: one that waits for a site's lock holds
// nobody up.
const workers = 4

// mostCauses bounds what is remembered of a site in the queue.
const mostCauses = 8

// earliest is the earliest that the kernel told; without any the zero value.
func earliest(causes []Cause) (out Cause) {
	for _, c := range causes {
		if c.at != 0 && (out.at == 0 || c.at < out.at) {
			out = c
		}
	}
	return out
}

// evaluations is the queue of sites to evaluate; those of which something was told come first. A site that is in it already is
// not put there again: what was told meanwhile is seen at the one evaluation, which is timed from the
// first cause.
type evaluations struct {
	mu          sync.Mutex
	urgent      []Ref // something was told of them
	routine     []Ref // some of these may have been told of since, and evaluated
	causes      map[Ref][]Cause
	more        chan struct{} // has one if the queue may have something
	urgentCount *priority.Sem // one for each of which something was told; nil if nobody waits for them
}

func newEvaluations() *evaluations {
	return &evaluations{causes: map[Ref][]Cause{}, more: make(chan struct{}, 1)}
}

// add never blocks.
func (l *evaluations) add(e Ref, why Cause) {
	l.mu.Lock()
	before, waiting := l.causes[e]
	urgent := why.at != 0 && earliest(before).at == 0
	switch {
	case urgent:
		l.urgent = append(l.urgent, e)
	case !waiting:
		l.routine = append(l.routine, e)
	}
	if len(before) < mostCauses || urgent {
		l.causes[e] = append(before, why)
	}
	l.mu.Unlock()
	if urgent {
		l.urgentCount.Give()
	}
	l.wake()
}

func (l *evaluations) wake() {
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// take gives the next site, and says whether there is one.
func (l *evaluations) take(onlyUrgent bool) (Ref, []Cause, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, why := l.next(&l.urgent)
	if e == nil && !onlyUrgent {
		e, why = l.next(&l.routine)
	}
	if len(l.urgent)+len(l.routine) > 0 {
		l.wake()
	}
	return e, why, e != nil
}

// next takes the first of a queue that is still to be evaluated.
func (l *evaluations) next(queue *[]Ref) (Ref, []Cause) {
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

// work evaluates sites until the context ends.
func (l *evaluations) work(ctx context.Context, evaluate func(Ref, []Cause)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.more:
		}
		for {
			e, why, ok := l.take(false)
			if !ok {
				break
			}
			evaluate(e, why)
			if ctx.Err() != nil {
				return
			}
		}
	}
}

// shareOut has those sites evaluated that may have to give something back to others: in the
// background, as no site is looked up under the lock of another.
func (g *Engine) shareOut() {
	ids := g.budget.sharing(time.Now())
	if len(ids) == 0 {
		return
	}
	g.Go(func() {
		for _, id := range ids {
			if ref, ok := g.Site(id); ok {
				g.queue.add(ref, Cause{})
			}
		}
	})
}
