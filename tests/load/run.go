package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Config says whom to ask, and how.
type Config struct {
	// URL is asked with GET.
	URL string
	// KeepAlive uses connections again; else each request makes its own.
	KeepAlive bool
	// Timeout ends a request, counted from when it should have been sent. 0: 10 s.
	Timeout time.Duration
	// InFlight bounds the requests at the same time. When all are out, the next ones are
	// sent late; that counts in their latency, and in Result.Late. 0: 4096.
	InFlight int
	// Objective is the latency that Result.Over and the windows are counted against. 0: Timeout.
	Objective time.Duration
	// Window is the width of Result.Windows. 0: 1 s.
	Window time.Duration
	// Dial makes connections, for clients in another network namespace. Nil: net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

const (
	defaultTimeout  = 10 * time.Second
	defaultInFlight = 4096
)

func (c Config) complete() Config {
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	if c.InFlight <= 0 {
		c.InFlight = defaultInFlight
	}
	if c.Objective <= 0 {
		c.Objective = c.Timeout
	}
	if c.Window <= 0 {
		c.Window = time.Second
	}
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	return c
}

// Run sends the schedule and waits for all answers. Requests that fail are counted,
// not returned; an error means that the load as such could not be made, or that ctx ended
// (then the result holds what was sent until then).
func Run(ctx context.Context, c Config, s Schedule) (*Result, error) {
	c = c.complete()
	transport := &http.Transport{
		DialContext:         c.Dial,
		DisableKeepAlives:   !c.KeepAlive,
		MaxIdleConnsPerHost: c.InFlight,
		DisableCompression:  true,
	}
	defer transport.CloseIdleConnections()
	if _, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL, nil); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	r := &run{Config: c, result: newResult(c), slots: make(chan struct{}, c.InFlight), client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	r.began = time.Now()
	err := r.send(ctx, s)
	r.flying.Wait()
	r.result.Elapsed = time.Since(r.began)
	return r.result, err
}

// run is a load under way.
type run struct {
	Config
	client *http.Client
	began  time.Time
	slots  chan struct{}
	flying sync.WaitGroup

	mu     sync.Mutex // guards result
	result *Result
}

// send starts each request at its moment.
func (r *run) send(ctx context.Context, s Schedule) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for at := range s {
		if ctx.Err() != nil { // a select would choose by chance among this and a request that is due
			return context.Cause(ctx)
		}
		if wait := time.Until(r.began.Add(at)); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		select {
		case r.slots <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		r.flying.Go(func() {
			defer func() { <-r.slots }()
			r.one(ctx, at)
		})
	}
	return nil
}

// one asks once.
func (r *run) one(ctx context.Context, at time.Duration) {
	intended := r.began.Add(at)
	late := time.Since(intended)
	ctx, cancel := context.WithDeadline(ctx, intended.Add(r.Timeout))
	defer cancel()
	err := r.ask(ctx)
	took := time.Since(intended)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.add(at, late, took, err)
}

// errStatus is an answer that is not a success.
type errStatus int

func (e errStatus) Error() string { return fmt.Sprintf("status %d", int(e)) }

func (r *run) ask(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL, nil)
	if err != nil {
		return err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return errStatus(resp.StatusCode)
	}
	return nil
}
