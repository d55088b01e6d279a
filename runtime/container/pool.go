package container

import (
	"errors"
	"log/slog"
	"sync"
	"time"
)

// pool keeps slots ahead of their use.
type pool struct {
	ahead int
	make  func() (*slot, error)
	yield func(hurry <-chan struct{})
	log   *slog.Logger

	mu     sync.Mutex
	slots  []*slot
	closed bool
	busy   bool           // a refill is under way
	timer  *time.Timer    // of refillSoon, nil when none is due
	wg     sync.WaitGroup // refills
	ending chan struct{}  // closed by close: nothing is yielded to any more
}

// newPool makes a pool that is empty until the first refill.
func newPool(ahead int, newSlot func() (*slot, error), yield func(hurry <-chan struct{}), log *slog.Logger) *pool {
	if yield == nil {
		yield = func(<-chan struct{}) {}
	}
	return &pool{ahead: ahead, make: newSlot, yield: yield, log: log, ending: make(chan struct{})}
}

// take gives the oldest waiting slot, or makes one. It does not refill: a start
// is not to share the CPU with the making of its successor.
func (p *pool) take() (*slot, error) {
	if s := p.waiting(); s != nil {
		return s, nil
	}
	return p.make()
}

// waiting gives the oldest waiting slot, or nil.
func (p *pool) waiting() *slot {
	for {
		p.mu.Lock()
		if len(p.slots) == 0 {
			p.mu.Unlock()
			return nil
		}
		s := p.slots[0]
		p.slots = p.slots[1:]
		p.mu.Unlock()
		if s.alive() {
			return s
		}
		if why := lastWords(s.conn, 10*time.Millisecond); why != nil { // for people only: a visitor waits
			p.log.Warn("a runner that waited has ended", "why", why)
		}
		if err := s.discard(); err != nil {
			p.log.Warn("a runner that waited was killed, and something of it is left", "error", err)
		}
	}
}

// refillDelay keeps the making of runners away from the first moments of the
// program that was just started: it takes two CPUs some 30 ms.
const refillDelay = 100 * time.Millisecond

// refillSoon refills a little later, once however often it is called.
func (p *pool) refillSoon() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.timer != nil {
		return
	}
	p.timer = time.AfterFunc(refillDelay, func() {
		p.mu.Lock()
		p.timer = nil
		p.mu.Unlock()
		p.refill()
	})
}

// refill makes slots in the background until there are enough, one after the
// other, each when it disturbs nobody. Who needs one meanwhile makes his own.
func (p *pool) refill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.busy {
		return
	}
	p.busy = true
	p.wg.Go(func() {
		for p.wants() {
			p.yield(p.ending)
			if !p.wants() {
				return
			}
			s, err := p.make()
			if err != nil {
				// The next start meets the same error, and returns it.
				p.log.Warn("cannot start a runner ahead", "error", err)
				p.mu.Lock()
				p.busy = false
				p.mu.Unlock()
				return
			}
			p.put(s)
		}
	})
}

// wants says whether the refill goes on; if not, the next one may begin.
func (p *pool) wants() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy = !p.closed && len(p.slots) < p.ahead
	return p.busy
}

func (p *pool) put(s *slot) {
	p.mu.Lock()
	surplus := p.closed || len(p.slots) >= p.ahead
	if !surplus {
		p.slots = append(p.slots, s)
	}
	p.mu.Unlock()
	if !surplus {
		return
	}
	if err := s.discard(); err != nil {
		p.log.Warn("something is left of a runner that is not needed", "error", err)
	}
}

// flush throws away what waits, and makes others.
func (p *pool) flush() {
	p.mu.Lock()
	slots := p.slots
	p.slots = nil
	p.mu.Unlock()
	for _, s := range slots {
		if err := s.discard(); err != nil {
			p.log.Warn("something is left of a runner that is not needed", "error", err)
		}
	}
	p.refill()
}

func (p *pool) close() error {
	p.mu.Lock()
	if !p.closed {
		close(p.ending)
	}
	p.closed = true
	if p.timer != nil {
		p.timer.Stop()
	}
	slots := p.slots
	p.slots = nil
	p.mu.Unlock()
	var errs []error
	for _, s := range slots {
		errs = append(errs, s.discard())
	}
	p.wg.Wait()
	return errors.Join(errs...)
}
