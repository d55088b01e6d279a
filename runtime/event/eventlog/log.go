package eventlog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"sync"
	"time"

	"github.com/fcnode/fcnode/runtime/event"
)

// Options of Open; zero values take the defaults in brackets.
type Options struct {
	Keep    int   // [4096] events in memory, at least; at most twice as many
	MaxSize int64 // [8 MiB] bytes of a file before it is rotated
}

// Log keeps events. Its methods may be called from any goroutine.
type Log struct {
	dir  string
	opts Options

	file    *os.File // the writer's, as is size
	size    int64
	written chan struct{} // closed when the writer has ended; nil: in memory only

	mu      sync.Mutex
	due     []*line       // for the writer
	more    chan struct{} // of one: there are some
	late    bool          // the disk is, and nobody waits for it
	unsaid  error         // of lines for which nobody has waited
	seq     uint64
	ring    []event.Event // the newest, ordered; at most 2 * opts.Keep
	changed chan struct{}
	closed  bool
}

// Open opens the event log in dir, or begins one.
func Open(dir string, o Options) (*Log, error) {
	o = o.withDefaults()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the event log's folder: %w", err)
	}
	j := &Log{dir: dir, opts: o, changed: make(chan struct{}), more: make(chan struct{}, 1), written: make(chan struct{})}
	if err := j.load(); err != nil {
		return nil, fmt.Errorf("open the event log in %s: %w", dir, err)
	}
	go j.keepWriting()
	return j, nil
}

// InMemory is a log without a file, for when Open fails: events can be had as
// long as the daemon lives. Append's error says that they are not on disk.
func InMemory(o Options) *Log {
	return &Log{opts: o.withDefaults(), changed: make(chan struct{})}
}

func (o Options) withDefaults() Options {
	if o.Keep <= 0 {
		o.Keep = 4096
	}
	if o.MaxSize <= 0 {
		o.MaxSize = 8 << 20
	}
	return o
}

// Append gives the event its number (and time, if it has none) and keeps it. It is
// in the file when Append returns, unless the disk is late: who tells of something
// may hold what others wait for. An error concerns the file only, and may be of
// an earlier event; those who follow have it anyway.
func (j *Log) Append(e event.Event) (event.Event, error) {
	e, l, err := j.keep(e)
	if l == nil {
		return e, err
	}
	disk := time.NewTimer(patience)
	defer disk.Stop()
	select {
	case failed := <-l.done:
		return e, errors.Join(err, failed)
	case <-disk.C:
		j.givenUp(l)
		return e, err
	}
}

// keep remembers an event and has it written. It gives the line that is to be
// waited for; nil: none is.
func (j *Log) keep(e event.Event) (event.Event, *line, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seq++
	e.Seq = j.seq
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	j.remember(e)
	if !j.closed {
		close(j.changed)
		j.changed = make(chan struct{})
	}
	switch {
	case j.closed:
		return e, nil, fmt.Errorf("write event %d: %w", e.Seq, os.ErrClosed)
	case j.written == nil:
		return e, nil, fmt.Errorf("event %d is kept in memory only: the event log could not be opened", e.Seq)
	case len(j.due) >= j.opts.Keep:
		return e, nil, fmt.Errorf("event %d is kept in memory only: %d wait for the disk", e.Seq, len(j.due))
	}
	l := &line{event: e, done: make(chan error, 1), alone: j.late}
	j.due = append(j.due, l)
	j.wakeWriter()
	err := j.unsaid
	j.unsaid = nil
	if j.late {
		l = nil
	}
	return e, l, err
}

func (j *Log) remember(e event.Event) {
	if len(j.ring) >= 2*j.opts.Keep {
		// moved once per Keep events, so appending stays O(1)
		j.ring = append(make([]event.Event, 0, 2*j.opts.Keep), j.ring[len(j.ring)-j.opts.Keep+1:]...)
	}
	j.ring = append(j.ring, e)
}

// Newest calls fn with the kept events from the newest to the oldest until it
// returns false.
func (j *Log) Newest(fn func(event.Event) bool) {
	j.mu.Lock()
	events := j.ring
	j.mu.Unlock()
	for i := len(events) - 1; i >= 0; i-- {
		if !fn(events[i]) {
			return
		}
	}
}

// Events yields the kept events that opts asks for, in order; with Follow it
// goes on until the context or the event log ends.
func (j *Log) Events(ctx context.Context, opts event.Query) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		after := opts.Since
		first := true
		for {
			events, changed, closed := j.after(after)
			if len(events) > 0 {
				after = events[len(events)-1].Seq
			}
			events = choose(events, opts.Site)
			if first && opts.Last > 0 && len(events) > opts.Last {
				events = events[len(events)-opts.Last:]
			}
			first = false
			for _, e := range events {
				if !yield(e, nil) {
					return
				}
			}
			if !opts.Follow || closed {
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
		}
	}
}

func choose(events []event.Event, site string) []event.Event {
	if site == "" {
		return events
	}
	var out []event.Event
	for _, e := range events {
		if e.Site == site {
			out = append(out, e)
		}
	}
	return out
}

// after returns the kept events behind seq, and a channel that is closed when
// there are more. The slice is not written to any more.
func (j *Log) after(seq uint64) ([]event.Event, <-chan struct{}, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	i := len(j.ring)
	for i > 0 && j.ring[i-1].Seq > seq {
		i--
	}
	return j.ring[i:len(j.ring):len(j.ring)], j.changed, j.closed
}

// Close ends all who follow, and closes the file.
func (j *Log) Close() error {
	j.mu.Lock()
	closed := j.closed
	if !closed {
		j.closed = true
		close(j.changed)
	}
	j.mu.Unlock()
	if closed || j.written == nil {
		return nil
	}
	j.wakeWriter()
	disk := time.NewTimer(lastPatience)
	defer disk.Stop()
	select {
	case <-j.written:
		return errors.Join(j.unsaid, j.file.Close())
	case <-disk.C:
		return fmt.Errorf("write the last events to %s: the disk takes longer than %s", j.current(), lastPatience)
	}
}
