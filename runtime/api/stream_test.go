package api_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/tests/testutil"
)

func collect[T any](seq iter.Seq2[T, error]) (all []T, err error) {
	for v, err := range seq {
		if err != nil {
			return all, err
		}
		all = append(all, v)
	}
	return all, nil
}

func TestEvents(t *testing.T) {
	r, ctx := start(t), t.Context()
	if all, err := collect(r.Events(ctx, event.Query{})); err != nil || len(all) != 0 {
		t.Fatalf("no events = %v, %v", all, err)
	}
	r.blog(t)
	if _, err := r.Wake(ctx, "blog"); err != nil {
		t.Fatal(err)
	}
	all, err := collect(r.Events(ctx, event.Query{Since: 1, Site: "blog"}))
	at := time.Unix(1_800_000_000, 0).UTC()
	want := []event.Event{{Seq: 2, Time: at, Site: "blog", Kind: "running", Fields: map[string]any{"by": "hand"}}}
	if diff := cmp.Diff(want, all); err != nil || diff != "" {
		t.Errorf("events: %v\n%s", err, diff)
	}
}

// follow gives the events one by one until ctx ends.
func follow(ctx context.Context, r *rig) (<-chan event.Event, <-chan error) {
	events, end := make(chan event.Event), make(chan error, 1)
	go func() {
		for e, err := range r.Events(ctx, event.Query{Follow: true}) {
			if err != nil {
				end <- err
				return
			}
			events <- e
		}
		end <- nil
	}()
	return events, end
}

func TestFollowAndCancel(t *testing.T) {
	r := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	events, end := follow(ctx, r)
	r.blog(t)
	if e := testutil.Receive(t, patience, "the first event", events); e.Kind != "applied" {
		t.Errorf("first event = %+v", e)
	}
	if _, err := r.Wake(ctx, "blog"); err != nil {
		t.Fatal(err)
	}
	if e := testutil.Receive(t, patience, "the second event", events); e.Kind != "running" {
		t.Errorf("second event = %+v", e)
	}
	cancel()
	if err := testutil.Receive(t, patience, "the end", end); !errors.Is(err, context.Canceled) {
		t.Errorf("end = %v", err)
	}
	testutil.WaitFor(t, patience, "the backend to be free of the stream", func() error {
		r.backend.mu.Lock()
		defer r.backend.mu.Unlock()
		if n := r.backend.streams; n != 0 {
			return fmt.Errorf("%d streams are open", n)
		}
		return nil
	})
}

func TestBreakOutOfStream(t *testing.T) {
	r := start(t)
	r.blog(t)
	for e, err := range r.Events(t.Context(), event.Query{Follow: true}) {
		if err != nil || e.Seq != 1 {
			t.Fatalf("%+v, %v", e, err)
		}
		break
	}
}

func TestDaemonStopsDuringStream(t *testing.T) {
	r := start(t)
	events, end := follow(t.Context(), r)
	r.blog(t)
	testutil.Receive(t, patience, "the first event", events)
	r.stop()
	err := testutil.Receive(t, patience, "the end", end)
	if !errors.Is(err, api.ErrUnavailable) || !strings.Contains(err.Error(), "stopping") {
		t.Errorf("end = %v", err)
	}
}

func TestDaemonDiesDuringStream(t *testing.T) {
	r := start(t)
	// A daemon that is killed after one event leaves a chunked answer without its end.
	ln, err := net.Listen("unix", r.socket+".dying")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dying := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, `{"seq":1,"kind":"applied"}`)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})}
	go func() { _ = dying.Serve(ln) }()
	c := api.NewClient(r.socket + ".dying")
	defer c.Close()
	all, err := collect(c.Events(t.Context(), event.Query{Follow: true}))
	if len(all) != 1 || !errors.Is(err, api.ErrUnreachable) {
		t.Errorf("events = %v, %v: a broken stream looks like a whole one", all, err)
	}
}

func TestLogs(t *testing.T) {
	r, ctx := start(t), t.Context()
	r.blog(t)
	base := time.Date(2026, 11, 22, 10, 0, 0, 123456789, time.UTC)
	for i := range 3 {
		r.backend.logs = append(r.backend.logs, api.LogLine{Time: base.Add(time.Duration(i) * time.Second), Stream: "stdout", Text: fmt.Sprint(i)})
	}
	tests := []struct {
		name string
		opts api.LogOptions
		want string
	}{
		{"all", api.LogOptions{Tail: -1}, "0 1 2"},
		{"tail", api.LogOptions{Tail: 2}, "1 2"},
		{"tail 0", api.LogOptions{Tail: 0}, ""},
		{"since, to the nanosecond", api.LogOptions{Tail: -1, Since: base.Add(time.Nanosecond)}, "1 2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			lines, err := collect(r.Logs(ctx, "blog", tt.opts))
			var texts []string
			for _, l := range lines {
				texts = append(texts, l.Text)
			}
			if got := strings.Join(texts, " "); err != nil || got != tt.want {
				t.Errorf("lines = %q, %v; want %q", got, err, tt.want)
			}
		})
	}
	t.Run("error before the first line", func(t *testing.T) {
		if _, err := collect(r.Logs(ctx, "nobody", api.LogOptions{})); !errors.Is(err, api.ErrNotFound) {
			t.Error(err)
		}
	})
	t.Run("error after some lines", func(t *testing.T) {
		lines, err := collect(r.Logs(ctx, "blog", api.LogOptions{Tail: -1, Replica: "lost"}))
		if len(lines) != 3 || !errors.Is(err, api.ErrInternal) || !strings.Contains(err.Error(), "read the log of blog") {
			t.Errorf("%d lines, %v", len(lines), err)
		}
	})
}
