package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// Failure is why a request got no answer.
type Failure string

// The failures.
const (
	TimedOut Failure = "timed out"
	Refused  Failure = "refused"
	Reset    Failure = "reset"
	Status   Failure = "error status"
	Other    Failure = "other"
)

// Result is what a load gave.
type Result struct {
	Sent    int // requests; each is answered or failed
	OK      int
	Failed  map[Failure]int
	Elapsed time.Duration
	Windows []Window // by when the requests should have been sent
	// FirstError of each failure says more than its kind.
	FirstError map[Failure]string

	objective time.Duration
	window    time.Duration
	over      int
	latency   *hdrhistogram.Histogram // µs, answered requests
	late      *hdrhistogram.Histogram // µs
}

// Window are the requests of a part of the time.
type Window struct {
	Sent   int
	Failed int
	Over   int           // longer than the objective, or failed
	Most   time.Duration // the longest answer
}

const (
	longest = 10 * time.Minute
	digits  = 3
	// maxWindows bounds the memory of a very long load; the rest goes into the last one.
	maxWindows = 100_000
)

func newResult(c Config) *Result {
	return &Result{
		Failed: make(map[Failure]int), FirstError: make(map[Failure]string),
		objective: c.Objective, window: c.Window,
		latency: hdrhistogram.New(1, longest.Microseconds(), digits),
		late:    hdrhistogram.New(1, longest.Microseconds(), digits),
	}
}

// add counts one request.
func (r *Result) add(at, late, took time.Duration, err error) {
	i := min(int(at/r.window), maxWindows-1)
	for len(r.Windows) <= i {
		r.Windows = append(r.Windows, Window{})
	}
	w := &r.Windows[i]
	r.Sent++
	w.Sent++
	record(r.late, late)
	if err != nil {
		kind := classify(err)
		r.Failed[kind]++
		if r.FirstError[kind] == "" {
			r.FirstError[kind] = err.Error()
		}
		w.Failed++
	} else {
		r.OK++
		record(r.latency, took)
		w.Most = max(w.Most, took)
	}
	if err != nil || took > r.objective {
		r.over++
		w.Over++
	}
}

// record counts a duration; what is beyond the histogram's end counts there.
func record(h *hdrhistogram.Histogram, d time.Duration) {
	us := min(max(d, 0), longest).Microseconds()
	if err := h.RecordValue(us); err != nil {
		panic(fmt.Sprintf("load: a bounded value does not fit its histogram: %v", err))
	}
}

func classify(err error) Failure {
	var status errStatus
	var netErr net.Error
	switch {
	case errors.As(err, &status):
		return Status
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return TimedOut
	case errors.Is(err, unix.ECONNREFUSED):
		return Refused
	case errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return Reset
	}
	return Other
}

// Quantile of the latency of answered requests, from when they should have been sent;
// within 0.1 %.
func (r *Result) Quantile(q float64) time.Duration {
	return time.Duration(r.latency.ValueAtQuantile(q*100)) * time.Microsecond
}

// Late is the same for how late requests were sent: the generator's own delay, and
// that of a full house (Config.InFlight). If it is not small against the latency, the
// machine was too slow for this load.
func (r *Result) Late(q float64) time.Duration {
	return time.Duration(r.late.ValueAtQuantile(q*100)) * time.Microsecond
}

// Over is the share of the requests that took longer than the objective, or failed.
func (r *Result) Over() float64 {
	if r.Sent == 0 {
		return 0
	}
	return float64(r.over) / float64(r.Sent)
}

// Errors is the number of failed requests.
func (r *Result) Errors() int { return r.Sent - r.OK }

// String is the result in a line.
func (r *Result) String() string {
	return fmt.Sprintf("%d requests in %s, %d failed %v, p50 %s, p99 %s, %.2f %% over %s",
		r.Sent, r.Elapsed.Round(time.Millisecond), r.Errors(), r.Failed, r.Quantile(0.5), r.Quantile(0.99), 100*r.Over(), r.objective)
}
