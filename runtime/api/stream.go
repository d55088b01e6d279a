package api

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"time"

	"github.com/fcnode/fcnode/runtime/event"
)

// contentStream is the media type of streams of JSON lines.
const contentStream = "application/x-ndjson"

func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	q := query{values: r.URL.Query()}
	opts := event.Query{
		Since:  q.uint64("since"),
		Last:   q.int("last", 0),
		Site:   q.string("site"),
		Follow: q.bool("follow"),
	}
	if err := q.done(); err != nil {
		s.fail(w, r, err)
		return
	}
	stream(s, w, r, opts.Follow, func(ctx context.Context) iter.Seq2[event.Event, error] { return s.backend.Events(ctx, opts) })
}

func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	q := query{values: r.URL.Query()}
	opts := LogOptions{
		Tail:    q.int("tail", -1),
		Since:   q.time("since"),
		Replica: q.string("replica"),
		Follow:  q.bool("follow"),
	}
	if err := q.done(); err != nil {
		s.fail(w, r, err)
		return
	}
	name := r.PathValue("site")
	stream(s, w, r, opts.Follow, func(ctx context.Context) iter.Seq2[LogLine, error] { return s.backend.Logs(ctx, name, opts) })
}

func (s *Server) pull(w http.ResponseWriter, r *http.Request) {
	q := query{values: r.URL.Query()}
	ref := q.string("image")
	if err := q.done(); err != nil {
		s.fail(w, r, err)
		return
	}
	stream(s, w, r, true, func(ctx context.Context) iter.Seq2[Pull, error] { return s.backend.Pull(ctx, ref) })
}

// stream writes what a backend yields as JSON lines, each at once when the client
// follows. An error before the first line is an ordinary error answer; a later one is the
// last line. It ends when the sequence does, the client goes away or stops reading, or
// the daemon stops.
func stream[T any](s *Server, w http.ResponseWriter, r *http.Request, follow bool,
	open func(context.Context) iter.Seq2[T, error],
) {
	ctx, cancel := s.untilStop(r.Context())
	defer cancel()

	out := &lineWriter{w: w, rc: http.NewResponseController(w), flush: follow}
	defer out.reset()
	for value, err := range open(ctx) {
		if err != nil {
			s.endStream(out, r, err)
			return
		}
		if err := out.line(value); err != nil {
			s.log.Debug("end of an API stream", "path", r.URL.Path, "error", err)
			return
		}
	}
	if s.stopping.Err() != nil {
		s.endStream(out, r, context.Cause(s.stopping))
		return
	}
	out.begin()
}

func (s *Server) endStream(out *lineWriter, r *http.Request, err error) {
	if !out.begun {
		s.fail(out.w, r, err)
		return
	}
	_ = out.line(errorBody{Error: toWire(err)})
}

// untilStop returns a context that also ends when the daemon stops.
func (s *Server) untilStop(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	unhook := context.AfterFunc(s.stopping, func() { cancel(context.Cause(s.stopping)) })
	return ctx, func() { unhook(); cancel(nil) }
}

type lineWriter struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	flush bool
	begun bool
}

func (l *lineWriter) begin() {
	if l.begun {
		return
	}
	l.begun = true
	l.w.Header().Set("Content-Type", contentStream)
	l.w.WriteHeader(http.StatusOK)
}

func (l *lineWriter) line(value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if err := l.rc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	l.begin()
	if _, err := l.w.Write(append(text, '\n')); err != nil {
		return err
	}
	if !l.flush {
		return nil
	}
	return l.rc.Flush()
}

// reset takes the last line's deadline off a connection that is kept alive.
func (l *lineWriter) reset() { _ = l.rc.SetWriteDeadline(time.Time{}) }
