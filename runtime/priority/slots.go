package priority

import (
	"context"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Patience is how long a start keeps its slot, and its precedence, though
// nothing listens yet: the application may be waiting for something, and others
// could use the processor.
const Patience = 2 * time.Second

// overloadAfter is how long starts wait while the queue is an ordinary one.
const overloadAfter = time.Second

// Slots lets as many replicas start at the same moment as the machine has use
// for. All at once would all be ready at the very end; one after the other the
// first are ready soon, and the last no later.
//
// A slot goes to the source that has had fewest since the queue was last empty, and
// of equal ones to who has asked first. When starts have waited for longer than
// overloadAfter every other slot goes to who has asked last instead: those at the
// end of a long queue are the ones who still wait for an answer, whoever has filled
// it before them. Each fourth goes to who has waited longest, whatever his source has had.
type Slots struct {
	mu    sync.Mutex
	slots int
	taken int
	queue []*waiter // by time of asking
	given map[netip.Prefix]int
	turns int // given out in overload
}

type waiter struct {
	source netip.Prefix
	since  time.Time
	turn   chan struct{} // closed when it has its slot
}

// NewSlots makes parallel slots; 0: as many as the machine has use for.
func NewSlots(parallel int) *Slots {
	if parallel == 0 {
		parallel = 2 * runtime.GOMAXPROCS(0)
	}
	return &Slots{slots: parallel, given: map[netip.Prefix]int{}}
}

// Enter waits for a slot. source is the network for which it is; all that nobody
// out there waits for has the zero one. Leave frees the slot; Patience does, too.
func (s *Slots) Enter(ctx context.Context, source netip.Prefix) (leave func(), err error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	w := &waiter{source: source, since: time.Now(), turn: make(chan struct{})}
	s.mu.Lock()
	s.queue = append(s.queue, w)
	s.serve()
	s.mu.Unlock()
	select {
	case <-w.turn:
	case <-ctx.Done():
		s.giveUp(w)
		return nil, context.Cause(ctx)
	}
	leave = sync.OnceFunc(s.leave)
	time.AfterFunc(Patience, leave)
	return leave, nil
}

func (s *Slots) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	s.serve()
}

// giveUp takes a waiter out of the queue, or gives its slot to the next one.
func (s *Slots) giveUp(w *waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.queue, w); i >= 0 {
		s.queue = slices.Delete(s.queue, i, i+1)
	} else {
		s.taken--
	}
	s.serve()
}

// serve gives out the slots that are free.
func (s *Slots) serve() {
	for s.taken < s.slots && len(s.queue) > 0 {
		i := s.next(time.Now())
		w := s.queue[i]
		s.queue = slices.Delete(s.queue, i, i+1)
		s.given[w.source]++
		s.taken++
		close(w.turn)
	}
	if len(s.queue) == 0 {
		clear(s.given)
	}
}

// next is who of the queue gets a slot.
func (s *Slots) next(now time.Time) int {
	first, last := 0, 0
	for i, w := range s.queue {
		had, fewest := s.given[w.source], s.given[s.queue[first].source]
		if had < fewest {
			first = i
		}
		if had <= fewest {
			last = i
		}
	}
	if now.Sub(s.queue[0].since) < overloadAfter {
		return first
	}
	s.turns++
	switch s.turns % 4 {
	case 0: // all that the node itself begins, or a gateway, are of one source: it must not wait for ever
		return 0
	case 1, 3:
		return last
	}
	return first
}

// Full says whether one more start would have to wait.
func (s *Slots) Full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken >= s.slots
}
