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
	stdio    Stdio
	unhook   func() bool
	// ended gives the cause when the session's context has ended.
	ended func() error
}

// Exec starts a process in a site's replica. The session has a terminal with req.TTY, and
// three pipes without: what the process gets is made for it, never a file of the caller's.
// Close, and the end of the context, kill the process and all that it has started.
func (c *Client) Exec(ctx context.Context, name string, req ExecRequest) (*Session, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	files := &fileConn{UnixConn: conn.(*net.UnixConn)}
	unhook := context.AfterFunc(ctx, func() { conn.Close() })
	s := &Session{conn: files, in: json.NewDecoder(files), unhook: unhook, ended: func() error { return context.Cause(ctx) }}
	if err := s.start(ctx, c, name, req); err != nil {
		s.Close()
		if cause := s.ended(); cause != nil {
			return nil, cause
		}
		return nil, err
	}
	return s, nil
}

func (s *Session) start(ctx context.Context, c *Client, name string, req ExecRequest) error {
	if err := c.upgrade(ctx, s.conn, sitePath(name, "/exec"), execProtocol, req); err != nil {
		return err
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
		files, err := s.conn.take(1)
		if err != nil {
			return fmt.Errorf("receive the terminal: %w", err)
		}
		s.terminal = files[0]
		return nil
	}
	files, err := s.conn.take(3)
	if err != nil {
		return fmt.Errorf("receive the pipes: %w", err)
	}
	s.stdio = Stdio{In: files[0], Out: files[1], Err: files[2]}
	return nil
}

// upgrade makes a call that takes the connection over.
func (c *Client) upgrade(ctx context.Context, conn *fileConn, path, protocol string, body any) error {
	req, err := c.request(ctx, http.MethodPost, path, nil, body)
	if err != nil {
		return err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", protocol)
	if err := req.Write(conn); err != nil {
		return &ConnError{Socket: c.socket, Err: err}
	}
	// Byte by byte: what follows the head of the answer may have a file beside it,
	// and belongs to the messages.
	resp, err := http.ReadResponse(bufio.NewReaderSize(byteReader{conn}, 1), req)
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

// Stdio are the pipes to a process without a terminal: In to be written, Out and Err to be
// read. Others in the container may hold their other ends for longer than the process
// lives: after Wait, read what is there and no end of file. Close closes them.
func (s *Session) Stdio() Stdio { return s.stdio }

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
	closeAll(s.terminal, s.stdio.In, s.stdio.Out, s.stdio.Err)
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
