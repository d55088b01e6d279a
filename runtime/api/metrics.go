package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// contentMetrics is the media type of Prometheus' text format.
const contentMetrics = "text/plain; version=0.0.4; charset=utf-8"

// metrics answers with text: that is what those who read it speak.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	var text bytes.Buffer
	if err := s.backend.Metrics(r.Context(), &text); err != nil {
		s.fail(w, r, err)
		return
	}
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	w.Header().Set("Content-Type", contentMetrics)
	if _, err := w.Write(text.Bytes()); err != nil {
		s.log.Debug("a reader of the metrics went away", "error", err)
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
