package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/guard"
)

// exec upgrades the connection and runs one process on it.
func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	var req ExecRequest
	if err := readExec(r, &req); err != nil {
		s.fail(w, r, err)
		return
	}
	conn, err := upgrade(w, execProtocol)
	if err != nil {
		s.fail(w, r, fmt.Errorf("upgrade the connection for exec: %w", err))
		return
	}
	s.hijacked.Add(1)
	defer s.hijacked.Done()
	defer conn.Close()
	defer conn.closeFiles()

	// The request's context is of no use any more: net/http does not watch the
	// connection after a hijack.
	ctx, cancel := s.untilStop(context.WithoutCancel(r.Context()))
	defer cancel()
	begin := time.Now()
	result, err := s.serveExec(ctx, cancel, conn, r.PathValue("site"), req)
	last := execFromServer{Exit: &result}
	if err != nil {
		last = execFromServer{Error: toWire(err)}
	}
	s.logMutation(r, time.Since(begin), err)
	_ = conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err := sendJSON(conn, last); err != nil {
		s.log.Debug("exec client went away", "path", r.URL.Path, "error", err)
	}
}

func readExec(r *http.Request, req *ExecRequest) error {
	if r.Header.Get("Upgrade") != execProtocol {
		return fmt.Errorf("exec needs the header Upgrade: %s and a connection that can carry files, see docs/api.md: %w",
			execProtocol, ErrInvalid)
	}
	if err := readBody(r, maxSmallBody, req); err != nil {
		return err
	}
	if len(req.Args) == 0 || req.Args[0] == "" {
		return fmt.Errorf("exec: no command: %w", ErrInvalid)
	}
	return nil
}

func upgrade(w http.ResponseWriter, protocol string) (*fileConn, error) {
	raw, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	unixConn, ok := raw.(*net.UnixConn)
	if !ok || buffered.Reader.Buffered() > 0 {
		raw.Close()
		return nil, fmt.Errorf("not a unix connection, or the client did not wait for the answer: %w", ErrInvalid)
	}
	_ = raw.SetDeadline(time.Now().Add(readHeaderTimeout))
	_, err = fmt.Fprintf(raw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", protocol)
	if err != nil {
		raw.Close()
		return nil, err
	}
	return &fileConn{UnixConn: unixConn}, nil
}

// serveExec runs the process until it ends, the client goes away or the daemon
// stops; the latter two cancel and so kill it.
func (s *Server) serveExec(ctx context.Context, cancel func(), conn *fileConn, site string, req ExecRequest) (ExecResult, error) {
	_ = conn.SetDeadline(time.Time{})
	var proc atomic.Pointer[Process]
	// From the beginning, as the client may go away while the process is started. The
	// reader ends when the connection is shut for reading.
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		defer cancel()
		if fault := guard.Run(func() { s.relaySignals(conn, &proc) }); fault != nil {
			s.log.Error("relaying signals to an exec has panicked, which is a bug of fcnode", "error", fault, "stack", string(fault.Stack))
		}
	}()
	result, err := s.runExec(ctx, cancel, conn, site, req, &proc)
	_ = conn.SetReadDeadline(time.Unix(1, 0))
	<-reading
	if err == nil && s.stopping.Err() != nil {
		err = context.Cause(s.stopping)
	}
	return result, err
}

func (s *Server) runExec(ctx context.Context, cancel func(), conn *fileConn, site string, req ExecRequest, running *atomic.Pointer[Process]) (ExecResult, error) {
	proc, err := s.backend.Exec(ctx, site, req)
	if err != nil {
		return ExecResult{}, err
	}
	running.Store(&proc)
	files := proc.Files()
	err = sendJSON(conn, execFromServer{Started: &execStarted{PID: proc.PID()}}, files...)
	closeAll(files...)
	if err != nil {
		cancel()
	}
	return proc.Wait(ctx)
}

// relaySignals passes on what the client asks for, until it goes away.
func (s *Server) relaySignals(conn *fileConn, running *atomic.Pointer[Process]) {
	in := json.NewDecoder(conn)
	for {
		var m execFromClient
		if err := in.Decode(&m); err != nil {
			return
		}
		sig := unix.SignalNum(m.Signal)
		if sig == 0 {
			s.log.Debug("exec client sent an unknown signal", "signal", m.Signal)
			continue
		}
		proc := running.Load()
		if proc == nil {
			continue // the client did not wait for it
		}
		if err := (*proc).Signal(sig); err != nil {
			s.log.Debug("signal an exec process", "pid", (*proc).PID(), "signal", m.Signal, "error", err)
		}
	}
}

func sendJSON(conn *fileConn, message any, files ...*os.File) error {
	line, err := json.Marshal(message)
	if err != nil {
		return err
	}
	return conn.send(append(line, '\n'), files...)
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}
