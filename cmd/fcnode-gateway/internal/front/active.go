package front

import (
	"net"
	"net/http"
	"sync"
)

// active are the connections by TCP on which a request is under way.
type active struct {
	mu    sync.Mutex
	conns map[net.Conn]bool
	over  chan struct{} // closed when there is none; nil until somebody asks
}

// note follows a connection through its states.
func (a *active) note(c net.Conn, state http.ConnState) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if state == http.StateActive {
		if a.conns == nil {
			a.conns = map[net.Conn]bool{}
		}
		a.conns[c] = true
		return
	}
	delete(a.conns, c)
	if a.over != nil && len(a.conns) == 0 {
		close(a.over)
		a.over = nil
	}
}

// none is closed when no request is under way.
func (a *active) none() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	over := make(chan struct{})
	if len(a.conns) == 0 {
		close(over)
	} else {
		a.over = over
	}
	return over
}
