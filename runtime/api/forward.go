package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"
)

// forwardProtocol is the value of the Upgrade header.
const forwardProtocol = "fcnode-forward/1"

// ForwardRequest says where within a replica to connect to.
type ForwardRequest struct {
	Port uint16 `json:"port"`
	// Address of the replica's network namespace; without one the site's own, 127.0.0.1
	// and ::1 are tried in this order.
	Address netip.Addr `json:"address,omitzero"`
	// Replica to connect to; the oldest running one when empty.
	Replica string `json:"replica,omitempty"`
	// Asleep leaves a site that sleeps asleep: ErrUnavailable.
	Asleep bool `json:"asleep,omitempty"`
}

// Connection is one within a replica.
type Connection struct {
	// Socket is the connected socket. The caller closes it.
	Socket *os.File
	// Replica that it is to.
	Replica string
	// Done is to be called when the connection is over.
	Done func()
	// Ended is closed when the replica has ended.
	Ended <-chan struct{}
}

// forwardFromServer: connected comes once, with the socket beside it; an error ends it.
type forwardFromServer struct {
	Connected *forwardConnected `json:"connected,omitempty"`
	Error     *Error            `json:"error,omitempty"`
}

type forwardConnected struct {
	Replica string `json:"replica"`
}

// forward upgrades the connection, sends a socket on it, and keeps the site awake until
// the client closes it.
func (s *Server) forward(w http.ResponseWriter, r *http.Request) {
	var req ForwardRequest
	if err := readForward(r, &req); err != nil {
		s.fail(w, r, err)
		return
	}
	begin := time.Now()
	ctx, cancel := s.untilStop(r.Context())
	defer cancel()
	c, err := s.backend.Connect(ctx, r.PathValue("site"), req)
	s.logMutation(r, time.Since(begin), err)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer c.Done()
	conn, err := upgrade(w, forwardProtocol)
	if err != nil {
		c.Socket.Close()
		s.fail(w, r, fmt.Errorf("upgrade the connection for a forward: %w", err))
		return
	}
	s.hijacked.Add(1)
	defer s.hijacked.Done()
	defer conn.Close()
	defer conn.closeFiles()
	err = sendJSON(conn, forwardFromServer{Connected: &forwardConnected{Replica: c.Replica}}, c.Socket)
	c.Socket.Close()
	if err != nil {
		s.log.Debug("the client of a forward went away", "path", r.URL.Path, "error", err)
		return
	}
	// What ends it, too, is the end of the daemon and of the replica.
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-s.stopping.Done():
		case <-c.Ended:
		case <-over:
			return
		}
		_ = conn.SetReadDeadline(time.Unix(1, 0))
	}()
	_ = conn.SetDeadline(time.Time{})
	_, _ = conn.Read(make([]byte, 1)) // nothing is said: it ends
}

func readForward(r *http.Request, req *ForwardRequest) error {
	if r.Header.Get("Upgrade") != forwardProtocol {
		return fmt.Errorf("forward needs the header Upgrade: %s and a connection that can carry files, see docs/api.md: %w", forwardProtocol, ErrInvalid)
	}
	if err := readBody(r, maxSmallBody, req); err != nil {
		return err
	}
	if req.Port == 0 {
		return fmt.Errorf("forward: no port: %w", ErrInvalid)
	}
	return nil
}

// Forwarded is a connection within a replica. Close ends it, and lets the site sleep.
type Forwarded struct {
	net.Conn

	Replica string
	session *fileConn
	unhook  func() bool
}

// Connect makes a connection within a replica, with a socket that is the client's: the
// data does not pass the daemon. The end of the context closes it.
func (c *Client) Connect(ctx context.Context, name string, req ForwardRequest) (*Forwarded, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	f := &Forwarded{session: &fileConn{UnixConn: conn.(*net.UnixConn)}}
	f.unhook = context.AfterFunc(ctx, func() { conn.Close() })
	if err := f.begin(ctx, c, name, req); err != nil {
		f.unhook()
		f.session.closeFiles()
		conn.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	return f, nil
}

func (f *Forwarded) begin(ctx context.Context, c *Client, name string, req ForwardRequest) error {
	if err := c.upgrade(ctx, f.session, sitePath(name, "/forward"), forwardProtocol, req); err != nil {
		return err
	}
	var m forwardFromServer
	if err := json.NewDecoder(f.session).Decode(&m); err != nil {
		return fmt.Errorf("the daemon broke off the forward: %w: %w", ErrUnreachable, err)
	}
	if m.Error != nil {
		return m.Error
	}
	if m.Connected == nil {
		return errors.New("forward: the daemon did not say that it is connected")
	}
	f.Replica = m.Connected.Replica
	files, err := f.session.take(1)
	if err != nil {
		return fmt.Errorf("receive the connection: %w", err)
	}
	defer files[0].Close()
	f.Conn, err = net.FileConn(files[0])
	return err
}

// Ended returns when the daemon has: the replica has ended, or the daemon itself. The
// data go on as long as the replica lives.
func (f *Forwarded) Ended() { _, _ = f.session.Read(make([]byte, 1)) }

// Close ends it.
func (f *Forwarded) Close() error {
	f.unhook()
	return errors.Join(f.Conn.Close(), f.session.Close())
}

// CloseWrite tells the other end that no more comes.
func (f *Forwarded) CloseWrite() error {
	if t, ok := f.Conn.(*net.TCPConn); ok {
		return t.CloseWrite()
	}
	return nil
}
