package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Session is a process which this client started with [Client.Exec].
type Session struct {
	conn     *fileConn
	in       *json.Decoder
	pid      int
	terminal *os.File
	unhook   func() bool
	// ended gives the cause when the session's context has ended.
	ended func() error
}

// Exec starts a process in a site's replica. Without req.TTY the process gets the three
// files themselves, which may be of any kind; the caller may close its own. With it, stdio is
// not used and the session has a terminal. Close, and the end of the context, kill
// the process.
func (c *Client) Exec(ctx context.Context, name string, req ExecRequest, stdio Stdio) (*Session, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	files := &fileConn{UnixConn: conn.(*net.UnixConn)}
	unhook := context.AfterFunc(ctx, func() { conn.Close() })
	s := &Session{conn: files, in: json.NewDecoder(files), unhook: unhook, ended: func() error { return context.Cause(ctx) }}
	if err := s.start(ctx, c, name, req, stdio); err != nil {
		s.Close()
		if cause := s.ended(); cause != nil {
			return nil, cause
		}
		return nil, err
	}
	return s, nil
}

func (s *Session) start(ctx context.Context, c *Client, name string, req ExecRequest, stdio Stdio) error {
	if err := s.upgrade(ctx, c, name, req); err != nil {
		return err
	}
	if !req.TTY {
		for _, f := range []*os.File{stdio.In, stdio.Out, stdio.Err} {
			f.Fd() // makes it blocking, as programs expect of their stdio (os/exec does the same)
		}
		err := sendJSON(s.conn, execFromClient{Stdio: true}, stdio.In, stdio.Out, stdio.Err)
		if err != nil {
			return fmt.Errorf("pass stdio to the daemon: %w", err)
		}
	}
	m, err := s.receive()
	if err != nil {
		return err
	}
	if m.Started == nil {
		return errors.New("exec: the daemon did not say that the process started")
	}
	s.pid = m.Started.PID
	if req.TTY {
		if s.terminal, err = s.conn.takeTerminal(); err != nil {
			return fmt.Errorf("receive the terminal: %w", err)
		}
	}
	return nil
}

func (s *Session) upgrade(ctx context.Context, c *Client, name string, body ExecRequest) error {
	req, err := c.request(ctx, http.MethodPost, sitePath(name, "/exec"), nil, body)
	if err != nil {
		return err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", execProtocol)
	if err := req.Write(s.conn); err != nil {
		return &ConnError{Socket: c.socket, Err: err}
	}
	// Byte by byte: what follows the head of the answer may have a file beside it,
	// and belongs to the messages.
	resp, err := http.ReadResponse(bufio.NewReaderSize(byteReader{s.conn}, 1), req)
	if err != nil {
		return &ConnError{Socket: c.socket, Err: err}
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer resp.Body.Close()
		return answerError(resp)
	}
	return nil
}

// PID of the process, seen from the node.
func (s *Session) PID() int { return s.pid }

// Terminal is the master of the process' terminal, or nil. Its reads and writes can have
// deadlines. Close closes it.
func (s *Session) Terminal() *os.File { return s.terminal }

// Signal sends a signal to the process.
func (s *Session) Signal(sig syscall.Signal) error {
	return sendJSON(s.conn, execFromClient{Signal: unix.SignalName(sig)})
}

// Wait returns how the process ended.
func (s *Session) Wait() (ExecResult, error) {
	m, err := s.receive()
	switch cause := s.ended(); {
	case err != nil && cause != nil:
		return ExecResult{}, cause
	case err != nil:
		return ExecResult{}, err
	case m.Exit == nil:
		return ExecResult{}, errors.New("exec: the daemon did not say how the process ended")
	}
	return *m.Exit, nil
}

// Close ends the session; a process that still runs is killed.
func (s *Session) Close() error {
	s.unhook()
	s.conn.closeFiles()
	closeAll(s.terminal)
	return s.conn.Close()
}

func (s *Session) receive() (execFromServer, error) {
	var m execFromServer
	if err := s.in.Decode(&m); err != nil {
		return m, fmt.Errorf("the daemon broke off the exec: %w: %w", ErrUnreachable, err)
	}
	if m.Error != nil {
		return m, m.Error
	}
	return m, nil
}

// byteReader never reads more than one byte.
type byteReader struct{ conn net.Conn }

func (b byteReader) Read(p []byte) (int, error) {
	if len(p) > 1 {
		p = p[:1]
	}
	return b.conn.Read(p)
}
