package answer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// The bounds. A monitor asks once and goes; who does more is let wait in the
// kernel, then refused there.
const (
	maxConns      = 256 // at once
	maxPerSource  = 32  // at once, of an IPv4 address or an IPv6 /64
	maxRequest    = 8 << 10
	maxRest       = 16 << 10 // what is read and thrown away of a body
	maxTime       = 5 * time.Second
	maxRestTime   = time.Second
	pause         = time.Millisecond // between two connections, in the long run
	burst         = 200
	retryInterval = 100 * time.Millisecond
)

// TierHeader says on which tier the site sleeps.
const TierHeader = "Fcnode-Tier"

// Answer is what ignored sources get from one site.
type Answer struct {
	HTTP   bool // a request is answered; else the connection is ended
	Status int
	Tier   string
}

// Answerer answers connections that ask for sites.
type Answerer struct {
	// Find gives the answer for an address and port of a site; false: there is none.
	Find func(netip.AddrPort) (Answer, bool)
	Log  *slog.Logger
	// Guard keeps a panic from the other connections, and tells it.
	Guard func(func())

	within time.Duration // that a connection may take; 0: maxTime
	conns  sync.WaitGroup
	slots  chan struct{}

	mu       sync.Mutex
	bySource map[netip.Prefix]int
	next     time.Time // when one more is due
}

// Serve answers until the context ends. It closes the listeners.
func (a *Answerer) Serve(ctx context.Context, listeners ...*net.TCPListener) {
	a.slots, a.bySource = make(chan struct{}, maxConns), map[netip.Prefix]int{}
	if a.within == 0 {
		a.within = maxTime
	}
	var accepting sync.WaitGroup
	for _, l := range listeners {
		stop := context.AfterFunc(ctx, func() { l.Close() })
		defer stop()
		accepting.Go(func() { a.accept(ctx, l) })
	}
	accepting.Wait()
	a.conns.Wait()
}

func (a *Answerer) accept(ctx context.Context, l *net.TCPListener) {
	defer l.Close()
	for {
		select {
		case a.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		if !a.pace(ctx) {
			return
		}
		c, err := l.AcceptTCP()
		if err != nil {
			<-a.slots
			if errors.Is(err, net.ErrClosed) {
				return
			}
			a.Log.Warn("an ignored source is not answered", "error", err) // no descriptor is left, say
			if !wait(ctx, retryInterval) {
				return
			}
			continue
		}
		a.conns.Go(func() {
			defer func() { <-a.slots }()
			defer c.Close()
			defer context.AfterFunc(ctx, func() { c.Close() })()
			a.Guard(func() { a.serve(c) })
		})
	}
}

// pace lets a burst pass, and then one connection each pause.
func (a *Answerer) pace(ctx context.Context) bool {
	a.mu.Lock()
	now := time.Now()
	if earliest := now.Add(-burst * pause); a.next.Before(earliest) {
		a.next = earliest
	}
	due := a.next.Sub(now)
	a.next = a.next.Add(pause)
	a.mu.Unlock()
	return due <= 0 || wait(ctx, due)
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (a *Answerer) serve(c *net.TCPConn) {
	source, ok := a.enter(addrPort(c.RemoteAddr()).Addr())
	if !ok {
		_ = c.SetLinger(0) // a reset: nothing is kept of it
		return
	}
	defer a.leave(source)
	if err := c.SetDeadline(time.Now().Add(a.within)); err != nil {
		return
	}
	defer end(c, min(maxRestTime, a.within))
	if answer, ok := a.Find(addrPort(c.LocalAddr())); ok && answer.HTTP {
		if err := respond(c, answer); err != nil {
			a.Log.Debug("an ignored source has not taken its answer", "source", c.RemoteAddr(), "error", err)
		}
	}
}

// enter counts one more connection of a source, unless it has all that it may.
func (a *Answerer) enter(from netip.Addr) (netip.Prefix, bool) {
	bits := 64
	if from.Is4() {
		bits = 32
	}
	source, err := from.Prefix(bits)
	if err != nil {
		return source, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.bySource[source] >= maxPerSource {
		return source, false
	}
	a.bySource[source]++
	return source, true
}

func (a *Answerer) leave(source netip.Prefix) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.bySource[source]--; a.bySource[source] == 0 {
		delete(a.bySource, source)
	}
}

// respond answers one request. What is none (a TLS handshake, say) gets no answer.
func respond(c net.Conn, answer Answer) error {
	req, err := http.ReadRequest(bufio.NewReader(io.LimitReader(c, maxRequest)))
	if err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	resp := http.Response{
		StatusCode: answer.Status, ProtoMajor: 1, ProtoMinor: 1, Request: req, Close: true,
		Header: http.Header{
			TierHeader: {answer.Tier}, "Cache-Control": {"no-store"}, "Date": {time.Now().UTC().Format(http.TimeFormat)},
		},
	}
	if answer.Status != http.StatusNoContent && answer.Status != http.StatusNotModified {
		body := fmt.Sprintf("The site sleeps (%s). This is its node, which does not wake it for you.\n", answer.Tier)
		resp.Header.Set("Content-Type", "text/plain; charset=utf-8")
		resp.Body, resp.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	}
	if err := resp.Write(c); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// end ends a connection so that the other side gets what was sent: with unread data
// a close would be a reset, which takes the answer along. Who does not end it in turn
// is reset then, so that the kernel need not keep a socket that nobody has.
func end(c *net.TCPConn, within time.Duration) {
	err := errors.Join(c.CloseWrite(), c.SetReadDeadline(time.Now().Add(within)))
	if err == nil {
		_, err = io.CopyN(io.Discard, c, maxRest)
	}
	if !errors.Is(err, io.EOF) {
		_ = c.SetLinger(0)
	}
}

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := t.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}
