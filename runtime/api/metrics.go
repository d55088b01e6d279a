package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// contentMetrics is the media type of Prometheus' text format.
const contentMetrics = "text/plain; version=0.0.4; charset=utf-8"

// metrics answers with text: that is what those who read it speak.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	s.text(w, r, contentMetrics, s.backend.Metrics)
}

// state is all that has to be known to have the node's sites elsewhere.
func (s *Server) state(w http.ResponseWriter, r *http.Request) {
	s.text(w, r, "text/plain; charset=utf-8", s.backend.State)
}

// text answers with what write writes, all of it or an error.
func (s *Server) text(w http.ResponseWriter, r *http.Request, content string, write func(context.Context, io.Writer) error) {
	var text bytes.Buffer
	if err := write(r.Context(), &text); err != nil {
		s.fail(w, r, err)
		return
	}
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	w.Header().Set("Content-Type", content)
	if _, err := w.Write(text.Bytes()); err != nil {
		s.log.Debug("a reader went away", "error", err)
	}
	_ = rc.SetWriteDeadline(time.Time{})
}

// ServeMetrics answers GET /metrics, and nothing else, on a listener that others than
// the owners of the socket can reach, until the context ends.
func (s *Server) ServeMetrics(ctx context.Context, ln net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", s.metrics)
	server := &http.Server{
		Handler: s.guarded(mux), ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the metrics on %s: %w", ln.Addr(), err)
	}
	return nil
}
