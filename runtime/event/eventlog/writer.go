package eventlog

import (
	"time"

	"github.com/fcnode/fcnode/runtime/event"
)

// A file is written by one goroutine, and who tells of something waits for it no
// longer than this. While the disk is late nobody does.
const (
	patience     = 50 * time.Millisecond
	lastPatience = 5 * time.Second // at the end
)

// line is an event on its way into the file.
type line struct {
	event event.Event
	done  chan error // of one
	alone bool       // nobody waits for it
}

// wakeWriter tells the writer that there is something to do.
func (j *Log) wakeWriter() {
	select {
	case j.more <- struct{}{}:
	default: // it knows
	}
}

// givenUp is called by who waits no longer for a line.
func (j *Log) givenUp(l *line) {
	j.mu.Lock()
	defer j.mu.Unlock()
	select {
	case err := <-l.done: // just now
		j.said(err)
		return
	default:
	}
	l.alone, j.late = true, true
}

// said keeps an error that nobody has heard for who comes next.
func (j *Log) said(err error) {
	if err != nil {
		j.unsaid = err
	}
}

// keepWriting writes what is due, in its order, until the log is closed.
func (j *Log) keepWriting() {
	defer close(j.written)
	for range j.more {
		for {
			due, closed := j.takeDue()
			if len(due) == 0 && closed {
				return
			}
			if len(due) == 0 {
				break
			}
			for _, l := range due {
				j.wrote(l, j.write(l.event))
			}
		}
	}
}

// takeDue takes what is due. Where nothing is, the disk is not late any more.
func (j *Log) takeDue() (due []*line, closed bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	due, j.due = j.due, nil
	if len(due) == 0 {
		j.late = false
	}
	return due, j.closed
}

func (j *Log) wrote(l *line, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if l.alone {
		j.said(err)
		return
	}
	l.done <- err
}
