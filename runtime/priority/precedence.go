package priority

import (
	"sync"
	"time"
)

const (
	// yieldAtMost is how long background work waits for wakes: it has to be done
	// also on a node where a wake is always under way.
	yieldAtMost = 500 * time.Millisecond
	// laterBy keeps cleaning up away from wakes that follow each other closely:
	// begun as soon as the first is over, it would meet the second.
	laterBy = 100 * time.Millisecond
)

// Precedence lets wakes go first. While one is under way a visitor waits for
// the processors and for the kernel's lock of all network configuration. Work
// ahead for the next wake, or cleaning up after the last one, had better wait.
type Precedence struct {
	mu    sync.Mutex
	under int           // wakes that are under way
	calm  chan struct{} // closed when under becomes 0; nil while it is
}

// Begin says that a wake is under way, until end is called or Patience is over.
// end may be called again.
func (p *Precedence) Begin() (end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.under == 0 {
		p.calm = make(chan struct{})
	}
	p.under++
	once := sync.OnceFunc(p.end)
	timer := time.AfterFunc(Patience, once)
	return func() {
		timer.Stop()
		once()
	}
}

func (p *Precedence) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.under--
	if p.under == 0 {
		close(p.calm)
		p.calm = nil
	}
}

// Yield returns when no wake is under way, after yieldAtMost in any case, and at
// once when hurry is closed.
func (p *Precedence) Yield(hurry <-chan struct{}) {
	var most <-chan time.Time // set when there is something to wait for
	for {
		p.mu.Lock()
		calm := p.calm
		p.mu.Unlock()
		if calm == nil {
			return
		}
		if most == nil {
			timer := time.NewTimer(yieldAtMost)
			defer timer.Stop()
			most = timer.C
		}
		select {
		case <-calm: // the next one may have begun
		case <-hurry:
			return
		case <-most:
			return
		}
	}
}

// Later is Yield, a little later.
func (p *Precedence) Later(hurry <-chan struct{}) {
	timer := time.NewTimer(laterBy)
	defer timer.Stop()
	select {
	case <-timer.C:
		p.Yield(hurry)
	case <-hurry:
	}
}
