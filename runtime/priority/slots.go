package priority

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// Patience is how long a start keeps its slot, and its precedence, though
// nothing listens yet: the application may be waiting for something, and others
// could use the processor.
const Patience = 2 * time.Second

// Slots lets as many replicas start at the same moment as the machine has use
// for, in the order of asking. All at once would all be ready at the very end;
// one after the other the first are ready soon, and the last no later.
type Slots struct{ sem chan struct{} }

// NewSlots makes parallel slots; 0: as many as the machine has use for.
func NewSlots(parallel int) *Slots {
	if parallel == 0 {
		parallel = 2 * runtime.GOMAXPROCS(0)
	}
	return &Slots{sem: make(chan struct{}, parallel)}
}

// Enter waits for a slot. Leave frees it; Patience does, too.
func (s *Slots) Enter(ctx context.Context) (leave func(), err error) {
	select { // a channel serves those who wait in the order of their coming
	case s.sem <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	leave = sync.OnceFunc(func() { <-s.sem })
	time.AfterFunc(Patience, leave)
	return leave, nil
}

// Full says whether one more start would have to wait.
func (s *Slots) Full() bool { return len(s.sem) == cap(s.sem) }
