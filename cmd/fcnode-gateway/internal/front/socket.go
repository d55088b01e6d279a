package front

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
)

func init() { caddy.RegisterNetwork(network, listenShared) }

// network is how Caddy's configuration calls the sockets of this gateway.
const network = "fcnode"

// socket is a listener by TCP that outlives Caddy's configurations: each of them has a share, and the newest gets the connections.
// Caddy's own way, a socket for each with SO_REUSEPORT, resets connections that wait for the old one when it is closed.
type socket struct {
	net.Listener

	mu     sync.Mutex
	cond   *sync.Cond
	shares []*share // in the order in which they were made
	closed bool
}

func newSocket(l net.Listener) *socket {
	s := &socket{Listener: l}
	s.cond = sync.NewCond(&s.mu)
	go s.pump()
	return s
}

// bindTCP takes the addresses. Their connections wait until somebody has a share.
func (g *Gateway) bindTCP(addrs []string) error {
	for _, addr := range addrs {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return fmt.Errorf("listen: %w; another program may have the port", err)
		}
		g.sockets[addr] = newSocket(l)
	}
	return nil
}

// pump hands connections to the newest share.
func (s *socket) pump() {
	for {
		c, err := s.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // of this connection alone, or of too many open files: the next may be had
			c = failed{err: err}
		}
		if !s.hand(c) {
			c.Close()
			return
		}
	}
}

// hand waits until somebody takes the connection, or the socket is closed.
func (s *socket) hand(c net.Conn) bool {
	for {
		to := s.newest()
		if to == nil {
			return false
		}
		select {
		case to.conns <- c:
			return true
		case <-to.closed: // that before it gets them again: another configuration could not be used
		}
	}
}

// newest waits for a share; nil: the socket is closed.
func (s *socket) newest() *share {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.shares) == 0 && !s.closed {
		s.cond.Wait()
	}
	if s.closed {
		return nil
	}
	return s.shares[len(s.shares)-1]
}

// share makes one.
func (s *socket) share() *share {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := &share{socket: s, conns: make(chan net.Conn), closed: make(chan struct{})}
	if s.closed {
		close(sh.closed)
		return sh
	}
	s.shares = append(s.shares, sh)
	s.cond.Broadcast()
	return sh
}

// Close closes the socket for all who have a share.
func (s *socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, sh := range s.shares {
		close(sh.closed)
	}
	s.shares = nil
	s.cond.Broadcast()
	return s.Listener.Close()
}

// failed carries an error to who has asked for a connection.
type failed struct {
	net.Conn
	err error
}

// Close implements net.Conn.
func (failed) Close() error { return nil }

// listenShared gives Caddy a share of a socket.
func listenShared(_ context.Context, _, host, port string, _ uint, _ net.ListenConfig) (any, error) {
	s := current.Load().sockets[net.JoinHostPort(host, port)]
	if s == nil {
		return nil, fmt.Errorf("%s is not bound", net.JoinHostPort(host, port))
	}
	return s.share(), nil
}

// share is what one configuration has of a socket.
type share struct {
	*socket
	conns  chan net.Conn
	closed chan struct{}
}

// Accept implements net.Listener.
func (s *share) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		if f, ok := c.(failed); ok {
			return nil, f.err
		}
		return c, nil
	case <-s.closed:
	}
	return nil, net.ErrClosed
}

// Close implements net.Listener. The socket stays.
func (s *share) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.shares, s); i >= 0 {
		s.shares = slices.Delete(s.shares, i, i+1)
		close(s.closed)
	}
	return nil
}

// shared names the addresses for Caddy.
func shared(addrs []string) []string {
	out := make([]string, len(addrs))
	for i, addr := range addrs {
		out[i] = network + "/" + addr
	}
	return out
}
