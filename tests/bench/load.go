package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/fcnode/fcnode/runtime/thread"
	"golang.org/x/sys/unix"
)

// load is a closed loop of requests: each connection sends the next one when
// it has the answer to the last. One thread, non-blocking sockets and epoll,
// because client and server share the cores: what the client burns is missing
// where the comparison is made.
type load struct {
	netns   int // descriptor of the client's network namespace
	target  netip.AddrPort
	request []byte
	conns   int
	reuse   bool          // keep-alive; else one connection for each request
	warm    time.Duration // not counted
	measure time.Duration
}

// loadResult is what one load gave.
type loadResult struct {
	requests int // answered within the measured time
	all      int // answered since the warming up
	elapsed  time.Duration
	latency  series // from the request (or connect()) to the answer's end
}

func (r loadResult) rate() float64 { return float64(r.requests) / r.elapsed.Seconds() }

// errLoad is an answer that is not one.
var errLoad = errors.New("wrong answer")

func requestFor(host string, n int, reuse bool) []byte {
	end := "\r\n"
	if !reuse {
		end = "Connection: close\r\n\r\n"
	}
	return fmt.Appendf(nil, "GET /bytes?n=%d HTTP/1.1\r\nHost: %s\r\n%s", n, host, end)
}

// run loads the target from a thread inside of the client's namespace.
func (l load) run(ctx context.Context) (r loadResult, err error) {
	err = thread.Throwaway(func() (err error) {
		r, err = l.loop(ctx)
		return err
	})
	return r, err
}

// visitor is one connection of the loop.
type visitor struct {
	fd    int
	sent  bool // the request is on its way
	began time.Time
	buf   [4096]byte
	n     int
}

func (l load) loop(ctx context.Context) (r loadResult, err error) {
	if err := unix.Setns(l.netns, unix.CLONE_NEWNET); err != nil {
		return r, fmt.Errorf("enter the client's network namespace: %w", err)
	}
	// A client that closes first keeps the port for a minute; some 100,000 connections later it has no other left, and each
	// connect() looks through all of them. A visitor of a real site does not come from one address.
	if err := os.WriteFile("/proc/sys/net/ipv4/tcp_tw_reuse", []byte("1"), 0); err != nil { // of this thread's namespace
		return r, fmt.Errorf("let the client reuse its ports: %w", err)
	}
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return r, err
	}
	defer unix.Close(ep)
	visitors := make([]*visitor, l.conns)
	defer func() {
		for _, v := range visitors {
			if v != nil && v.fd >= 0 {
				err = errors.Join(err, unix.Close(v.fd))
			}
		}
	}()
	for i := range visitors {
		visitors[i] = &visitor{fd: -1}
		if err := l.open(ep, i, visitors[i]); err != nil {
			return r, err
		}
	}
	return l.turns(ctx, ep, visitors)
}

func (l load) turns(ctx context.Context, ep int, visitors []*visitor) (r loadResult, err error) {
	begin := time.Now().Add(l.warm)
	end := begin.Add(l.measure)
	var now time.Time
	events := make([]unix.EpollEvent, len(visitors))
	for now.Before(end) && ctx.Err() == nil {
		n, err := unix.EpollWait(ep, events, 1000)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return r, err
		}
		now = time.Now()
		if n == 0 && err == nil {
			return r, fmt.Errorf("%w: silence for a second from %s", errLoad, l.target)
		}
		for _, ev := range events[:max(n, 0)] {
			v := visitors[ev.Fd]
			answered, err := l.advance(v)
			if err != nil {
				return r, fmt.Errorf("%s: %w", l.target, err)
			}
			if !answered {
				continue
			}
			r.all++
			if now.After(begin) && now.Before(end) {
				r.requests++
				r.latency = append(r.latency, now.Sub(v.began))
			}
			if err := l.next(ep, int(ev.Fd), v); err != nil {
				return r, err
			}
		}
	}
	r.elapsed = l.measure
	return r, ctx.Err()
}

// open begins a connection. The event carries the visitor's number.
func (l load) open(ep, number int, v *visitor) error {
	family, sa := sockaddr(l.target)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	v.fd, v.sent, v.n, v.began = fd, false, 0, time.Now()
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	if err := unix.Connect(fd, sa); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return fmt.Errorf("connect to %s: %w", l.target, err)
	}
	events := uint32(unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLET)
	return unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(number)})
}

func sockaddr(a netip.AddrPort) (int, unix.Sockaddr) {
	if a.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// advance does what a ready connection allows; true: the answer is complete.
func (l load) advance(v *visitor) (bool, error) {
	if !v.sent {
		n, err := unix.Write(v.fd, l.request)
		if errors.Is(err, unix.EAGAIN) {
			return false, nil // not connected yet
		}
		if err != nil {
			return false, err
		}
		if n != len(l.request) {
			return false, fmt.Errorf("%w: a request of %d bytes did not fit into an empty socket", errLoad, len(l.request))
		}
		v.sent = true
		return false, nil
	}
	n, err := unix.Read(v.fd, v.buf[v.n:])
	if errors.Is(err, unix.EAGAIN) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if n == 0 {
		return false, fmt.Errorf("%w: the connection ended after %q", errLoad, v.buf[:v.n])
	}
	v.n += n
	return complete(v.buf[:v.n])
}

// next begins the next request, on this connection or on a new one.
func (l load) next(ep, number int, v *visitor) error {
	if !l.reuse {
		if err := unix.Close(v.fd); err != nil {
			return err
		}
		v.fd = -1
		return l.open(ep, number, v)
	}
	v.sent, v.n, v.began = false, 0, time.Now()
	_, err := l.advance(v)
	return err
}

var (
	statusOK  = []byte("HTTP/1.1 200 OK\r\n")
	headerEnd = []byte("\r\n\r\n")
	lengthKey = []byte("\r\nContent-Length: ")
)

// complete says whether the bytes are one whole answer.
func complete(b []byte) (bool, error) {
	if !bytes.HasPrefix(b, statusOK[:min(len(b), len(statusOK))]) {
		return false, fmt.Errorf("%w: %q", errLoad, b)
	}
	head := bytes.Index(b, headerEnd)
	if head < 0 {
		return false, nil
	}
	at := bytes.Index(b[:head], lengthKey)
	if at < 0 {
		return false, fmt.Errorf("%w: no length in %q", errLoad, b[:head])
	}
	digits, _, _ := bytes.Cut(b[at+len(lengthKey):head+2], []byte("\r"))
	length, err := strconv.Atoi(string(digits))
	if err != nil {
		return false, fmt.Errorf("%w: length %q", errLoad, digits)
	}
	want := head + len(headerEnd) + length
	if len(b) > want {
		return false, fmt.Errorf("%w: %d bytes too many", errLoad, len(b)-want)
	}
	return len(b) == want, nil
}
