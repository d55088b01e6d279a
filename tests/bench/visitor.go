package main

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// visit is one connection and one request.
type visit struct {
	connect, firstByte time.Duration // both since before connect()
}

// client visits from a thread of its own inside of the client's namespace, by
// blocking system calls: what is measured is the kernel's connect() and read(),
// not a runtime's poller.
type client struct {
	asked chan question
	given chan outcome[visit]
}

// question is a request to a site.
type question struct {
	to   netip.AddrPort
	text []byte
}

// outcome of work on another thread.
type outcome[T any] struct {
	value T
	err   error
}

// rest is the pause before what is measured alone, fcnode's or another's. By then a node has made what it keeps ahead, as it can where sites sleep
// longer than an instant: it begins a tenth of a second after a start, and takes both processors some 30 ms, which would
// fall on whatever comes next.
const rest = 250 * time.Millisecond

func newClient(netns int) (*client, error) {
	c := &client{asked: make(chan question), given: make(chan outcome[visit])}
	entered := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := unix.Setns(netns, unix.CLONE_NEWNET)
		entered <- err
		if err != nil {
			return
		}
		for q := range c.asked {
			v, err := visitNow(q)
			c.given <- outcome[visit]{v, err}
		}
	}()
	if err := <-entered; err != nil {
		return nil, fmt.Errorf("enter the client's network namespace: %w", err)
	}
	return c, nil
}

func (c *client) close() { close(c.asked) }

// visit connects, asks for the greeting and waits for the first byte.
func (c *client) visit(addr netip.AddrPort) (visit, error) { return c.ask(question{addr, greeting}) }

// ask does the same with another request.
func (c *client) ask(q question) (visit, error) {
	c.asked <- q
	o := <-c.given
	return o.value, o.err
}

// visitBound ends a visit that nobody answers.
const visitBound = 30 * time.Second

var greeting = []byte("GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")

func visitNow(q question) (v visit, err error) {
	family, sa := sockaddr(q.to)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return v, err
	}
	defer unix.Close(fd)
	bound := unix.NsecToTimeval(visitBound.Nanoseconds())
	for _, option := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, option, &bound); err != nil {
			return v, err
		}
	}
	begin := time.Now()
	if err := uninterrupted(func() error { return unix.Connect(fd, sa) }); err != nil {
		return v, fmt.Errorf("connect to %s: %w", q.to, err)
	}
	v.connect = time.Since(begin)
	if _, err := unix.Write(fd, q.text); err != nil {
		return v, fmt.Errorf("ask %s: %w", q.to, err)
	}
	n, first := 0, make([]byte, 1)
	err = uninterrupted(func() (err error) {
		n, err = unix.Read(fd, first)
		return err
	})
	v.firstByte = time.Since(begin)
	if err == nil && n == 0 {
		err = errLoad
	}
	if err == nil {
		err = readOut(fd)
	}
	if err != nil {
		return v, fmt.Errorf("answer of %s: %w", q.to, err)
	}
	return v, nil
}

// readOut reads the rest of an answer, as a visitor does, until the site closes the connection. Closing it before resets it, which
// applications take for an error: Python's server writes a traceback about it, then or, when it was put to sleep on disk in that
// instant, beside the first request after it.
func readOut(fd int) error {
	for rest := make([]byte, 16<<10); ; {
		n := 0
		err := uninterrupted(func() (err error) {
			n, err = unix.Read(fd, rest)
			return err
		})
		if err != nil || n == 0 {
			return err
		}
	}
}

// uninterrupted goes on with a system call that one of the Go runtime's signals has ended: the kernel does not when
// the socket has a timeout. A second connect() waits for the connection that the first has begun.
func uninterrupted(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
