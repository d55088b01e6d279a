package node

import (
	"sync"
	"time"
)

const (
	// yieldAtMost is how long work in the background waits for wakes: on a node
	// where there is always one under way it is to be done all the same.
	yieldAtMost = 500 * time.Millisecond
	// laterBy keeps what is not urgent at all away from wakes that come one right
	// after the other: begun as soon as the first is over, it would meet the second.
	laterBy = 100 * time.Millisecond
)

// precedence lets wakes go first. While one is under way, a visitor waits for
// the processors and for the kernel's lock of all network configuration, and
// what is made ahead for the next one, or taken away after the last one, does
// better to wait for him.
type precedence struct {
	mu    sync.Mutex
	under int           // wakes that are under way
	calm  chan struct{} // closed when under becomes 0; nil while it is
}

// begin says that a wake is under way, until end is called or its time is up:
// the application may be waiting for something, and others could use the
// processor. end may be called again.
func (p *precedence) begin() (end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.under == 0 {
		p.calm = make(chan struct{})
	}
	p.under++
	once := sync.OnceFunc(p.end)
	timer := time.AfterFunc(startPatience, once)
	return func() {
		timer.Stop()
		once()
	}
}

func (p *precedence) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.under--
	if p.under == 0 {
		close(p.calm)
		p.calm = nil
	}
}

// yield returns when no wake is under way, but after yieldAtMost in any case, and
// at once when hurry is closed: somebody waits for what is to be done.
func (p *precedence) yield(hurry <-chan struct{}) {
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

// later is yield, a little later.
func (p *precedence) later(hurry <-chan struct{}) {
	timer := time.NewTimer(laterBy)
	defer timer.Stop()
	select {
	case <-timer.C:
		p.yield(hurry)
	case <-hurry:
	}
}
