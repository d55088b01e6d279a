package front

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/caddyserver/caddy/v2"
)

func init() { caddy.RegisterNetwork(network, listenShared) }

// network is how Caddy's configuration calls the sockets of this gateway.
const network = "fcnode"

// socket is a listener by TCP that outlives Caddy's configurations: each of them has a share. Caddy's own way, a socket for each
// with SO_REUSEPORT, resets connections that wait for the old one when it is closed.
type socket struct {
	net.Listener
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// bindTCP takes the addresses. Their connections wait until somebody has a share.
func (g *Gateway) bindTCP(addrs []string) error {
	for _, addr := range addrs {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return fmt.Errorf("listen: %w; another program may have the port", err)
		}
		s := &socket{Listener: l, conns: make(chan net.Conn), closed: make(chan struct{})}
		g.sockets[addr] = s
		go s.pump()
	}
	return nil
}

// pump hands connections to whoever has a share.
func (s *socket) pump() {
	for {
		c, err := s.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // of this connection alone, or of too many open files: the next may be had
			c = failed{err: err}
		}
		select {
		case s.conns <- c:
		case <-s.closed:
			c.Close()
			return
		}
	}
}

// failed carries an error to who has asked for a connection.
type failed struct {
	net.Conn
	err error
}

// Close implements net.Conn.
func (failed) Close() error { return nil }

// Close closes the socket for all who have a share.
func (s *socket) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Listener.Close()
}

// listenShared gives Caddy a share of a socket.
func listenShared(_ context.Context, _, host, port string, _ uint, _ net.ListenConfig) (any, error) {
	s := current.Load().sockets[net.JoinHostPort(host, port)]
	if s == nil {
		return nil, fmt.Errorf("%s is not bound", net.JoinHostPort(host, port))
	}
	return &share{socket: s, closed: make(chan struct{})}, nil
}

// share is what one configuration has of a socket.
type share struct {
	*socket
	closed chan struct{}
	once   sync.Once
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
	case <-s.socket.closed:
	}
	return nil, net.ErrClosed
}

// Close implements net.Listener. The socket stays.
func (s *share) Close() error {
	s.once.Do(func() { close(s.closed) })
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
