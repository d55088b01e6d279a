package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/fcnode/fcnode/runtime/guard"
)

const (
	// maxBody fits the specs of 100,000 sites.
	maxBody = 128 << 20
	// maxSmallBody is for everything that is not specs.
	maxSmallBody = 1 << 20

	readHeaderTimeout = 10 * time.Second
	readBodyTimeout   = time.Minute
	// writeTimeout is how long a client may refuse to read before it is dropped.
	writeTimeout = 30 * time.Second
	idleTimeout  = 2 * time.Minute
	// shutdownTimeout is how long running calls may take when the daemon stops.
	shutdownTimeout = 10 * time.Second
)

var errStopping = &Error{Code: CodeUnavailable, Message: "the daemon is stopping"}

// Server answers the API on one listener.
type Server struct {
	backend Backend
	log     *slog.Logger
	http    *http.Server
	access  Access

	// stopping ends streams and execs; ordinary calls may finish.
	stopping context.Context //nolint:containedctx // the server's life, not a call's
	stop     context.CancelCauseFunc
	// hijacked counts exec connections, of which net/http knows nothing more.
	hijacked sync.WaitGroup
}

// NewServer returns a server that is not listening yet.
func NewServer(backend Backend, log *slog.Logger) *Server {
	s := &Server{backend: backend, log: log}
	s.stopping, s.stop = context.WithCancelCause(context.Background())
	s.http = &http.Server{
		Handler:           s.guarded(s.routes()),
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ConnContext:       withPeer,
	}
	return s
}

// Serve answers calls until the context ends; then it ends the streams and execs,
// lets the other calls finish for a while, and returns nil. It closes the listener. A
// server serves once.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	done := make(chan error, 1)
	go func() { done <- s.http.Serve(ln) }()
	select {
	case err := <-done:
		s.stop(errStopping)
		s.hijacked.Wait()
		return fmt.Errorf("serve the API on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	s.stop(errStopping)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := s.http.Shutdown(grace); err != nil {
		s.log.Warn("API calls were cut off because the daemon stops", "after", shutdownTimeout)
		s.http.Close()
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		s.log.Warn("the API's listener failed while the daemon stopped", "error", err)
	}
	s.hijacked.Wait()
	return nil
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, call http.Handler) { mux.Handle(pattern, s.allowed(pattern, call)) }
	handleFunc := func(pattern string, call http.HandlerFunc) { handle(pattern, call) }
	handleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprintln(w, "ok")
	})
	handleFunc("GET /metrics", s.metrics)
	handleFunc("GET /v1/state", s.state)
	handle("GET /v1/info", s.call(s.info))
	handle("GET /v1/sites", s.call(s.list))
	handle("POST /v1/sites", s.mutation(s.apply))
	handle("GET /v1/sites/{site}", s.call(s.get))
	handle("DELETE /v1/sites/{site}", s.mutation(s.delete))
	handle("GET /v1/sites/{site}/file", s.call(s.specFile))
	handle("PUT /v1/sites/{site}/file", s.mutation(s.writeSpec))
	handle("POST /v1/sites/{site}/rollback", s.mutation(s.rollback))
	handleFunc("POST /v1/images", s.pull)
	handle("GET /v1/images", s.call(s.images))
	handle("GET /v1/images/{digest}", s.call(s.image))
	handle("DELETE /v1/images/{digest}", s.mutation(s.removeImage))
	handle("POST /v1/images/prune", s.mutation(s.pruneImages))
	handle("POST /v1/sites/{site}/wake", s.mutation(s.wake))
	handle("POST /v1/sites/{site}/park", s.mutation(s.park))
	handle("POST /v1/sites/{site}/circulate", s.mutation(s.circulate))
	handle("POST /v1/reload", s.mutation(s.reload))
	handle("GET /v1/volumes", s.call(s.volumes))
	handle("GET /v1/volumes/{site}/{volume}", s.call(s.volume))
	handle("DELETE /v1/volumes/{site}/{volume}", s.mutation(s.removeVolume))
	handle("PUT /v1/volumes/{site}/{volume}/snapshots/{snapshot}", s.mutation(s.snapshotVolume))
	handle("POST /v1/volumes/{site}/{volume}/snapshots/{snapshot}/restore", s.mutation(s.restoreSnapshot))
	handle("DELETE /v1/volumes/{site}/{volume}/snapshots/{snapshot}", s.mutation(s.removeSnapshot))
	handleFunc("GET /v1/volumes/{site}/{volume}/backup", s.backUp)
	handleFunc("PUT /v1/volumes/{site}/{volume}/backup", s.restoreVolume)
	handleFunc("GET /v1/volumes/{site}/{volume}/tar", s.readFiles)
	handleFunc("PUT /v1/volumes/{site}/{volume}/tar", s.writeFiles)
	handleFunc("GET /v1/sites/{site}/tar", s.readFiles)
	handleFunc("PUT /v1/sites/{site}/tar", s.writeFiles)
	handleFunc("POST /v1/sites/{site}/forward", s.forward)
	handle("GET /v1/sites/{site}/check", s.call(s.check))
	handle("GET /v1/sites/{site}/traces", s.call(s.traces))
	handle("GET /v1/sites/{site}/why", s.call(s.why))
	handleFunc("GET /v1/sites/{site}/logs", s.logs)
	handleFunc("POST /v1/sites/{site}/exec", s.exec)
	handle("GET /v1/denied", s.call(s.denied))
	handle("POST /v1/denied", s.mutation(s.deny))
	handle("DELETE /v1/denied", s.mutation(s.letIn))
	handleFunc("GET /v1/arrivals", s.arrivals)
	handleFunc("GET /v1/events", s.events)
	handleFunc("GET /v1/routes", s.feed)
	handle("/", s.call(func(r *http.Request) (any, error) {
		return nil, fmt.Errorf("%s %s: no such call, see docs/api.md: %w", r.Method, r.URL.Path, ErrNotFound)
	}))
	return mux
}

// guarded answers for calls that panic. What they did for a site has quarantined it
// by then.
func (s *Server) guarded(calls http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fault := guard.Run(func() { calls.ServeHTTP(w, r) })
		switch {
		case fault == nil:
		case errors.Is(fault, http.ErrAbortHandler):
			panic(http.ErrAbortHandler)
		default:
			s.log.Error("an API call has panicked, which is a bug of fcnode", "method", r.Method, "path", r.URL.Path, peerAttr(r.Context()), "error", fault, "stack", string(fault.Stack))
			s.fail(w, r, &Error{Code: CodeInternal, Message: "the call was broken off by a " + fault.Error(), Hint: "it is a bug of fcnode: report it with the stack in the daemon's log; fcnode list shows whether a site is quarantined"})
		}
	})
}

// callFunc handles a call that has one answer.
type callFunc func(r *http.Request) (any, error)

func (s *Server) call(f callFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, err := f(r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		s.reply(w, r, http.StatusOK, answer)
	})
}

// mutation logs who asked for a change, and what came of it.
func (s *Server) mutation(f callFunc) http.Handler {
	return s.call(func(r *http.Request) (any, error) {
		begin := time.Now()
		answer, err := f(r)
		s.logMutation(r, time.Since(begin), err)
		return answer, err
	})
}

func (s *Server) logMutation(r *http.Request, took time.Duration, err error) {
	attrs := []any{"method", r.Method, "path", r.URL.Path, peerAttr(r.Context()), "took", took}
	if err != nil {
		attrs = append(attrs, "error", err)
	}
	s.log.Info("API call", attrs...)
}

// fail answers with an error, and logs it when it is the node's fault.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	wire := toWire(err)
	if wire.Code == CodeInternal && r.Context().Err() == nil {
		s.log.Error("API call failed", "method", r.Method, "path", r.URL.Path, peerAttr(r.Context()), "error", err)
	}
	s.reply(w, r, statusOf[wire.Code], errorBody{Error: wire})
}

// errorBody is the shape of every error on the wire.
type errorBody struct {
	Error *Error `json:"error"`
}

func (s *Server) reply(w http.ResponseWriter, r *http.Request, status int, answer any) {
	// Encoded before the header goes out, so that a value that cannot be encoded is
	// an error and not half an answer.
	body, err := json.Marshal(answer)
	if err != nil {
		s.log.Error("encode an API answer", "path", r.URL.Path, "error", err)
		status = http.StatusInternalServerError
		body, _ = json.Marshal(errorBody{Error: &Error{Code: CodeInternal, Message: "encode the answer: " + err.Error()}})
	}
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if _, err := w.Write(append(body, '\n')); err != nil {
		s.log.Debug("API client went away", "path", r.URL.Path, "error", err)
	}
	// Connections are kept alive: the deadline was this answer's.
	_ = rc.SetWriteDeadline(time.Time{})
}

// readBody decodes a JSON body strictly.
func readBody(r *http.Request, limit int64, into any) error {
	dec := json.NewDecoder(http.MaxBytesReader(nil, r.Body, limit))
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if err == nil && dec.More() {
		err = errors.New("something follows the JSON value")
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &Error{
			Code:    CodeInvalid,
			Message: fmt.Sprintf("the request is larger than %d MiB", limit>>20),
			Hint:    "apply fewer sites at a time",
		}
	case err != nil:
		return fmt.Errorf("decode the request: %w: %w", ErrInvalid, err)
	}
	return nil
}
