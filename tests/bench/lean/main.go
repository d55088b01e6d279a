// Command lean is a web server whose own work is small: one thread, one epoll
// loop, as nginx works. In front of it a difference between two network paths
// shows that net/http's goroutines hide. It listens on port 80, answers every
// GET with 128 bytes, and says on standard output when it listens.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	runtime.LockOSThread()
	if err := serve(80); err != nil {
		fmt.Fprintln(os.Stderr, "lean:", err)
		os.Exit(1)
	}
}

var (
	answer      = []byte("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 128\r\n\r\n" + strings.Repeat("b", 128))
	answerLast  = []byte("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 128\r\n\r\n" + strings.Repeat("b", 128))
	requestEnd  = []byte("\r\n\r\n")
	closeHeader = []byte("\r\nConnection: close\r\n")
)

func serve(port int) error {
	ln, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(ln, &unix.SockaddrInet6{Port: port}); err != nil {
		return fmt.Errorf("bind port %d: %w", port, err)
	}
	if err := unix.Listen(ln, 1024); err != nil {
		return err
	}
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	if err := watch(ep, ln); err != nil {
		return err
	}
	fmt.Println("listening")
	events := make([]unix.EpollEvent, 256)
	buf := make([]byte, 8192)
	for {
		n, err := unix.EpollWait(ep, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for _, ev := range events[:max(n, 0)] {
			if int(ev.Fd) == ln {
				if err := accept(ep, ln); err != nil {
					return err
				}
			} else if !respond(int(ev.Fd), buf) {
				_ = unix.Close(int(ev.Fd)) // the visitor has gone, or is sent away
			}
		}
	}
}

func watch(ep, fd int) error {
	return unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func accept(ep, ln int) error {
	for {
		fd, _, err := unix.Accept4(ln, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.ECONNABORTED), errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("accept: %w", err)
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return err
		}
		if err := watch(ep, fd); err != nil {
			return err
		}
	}
}

// respond answers one request; false: close the connection. A request is taken
// to come in one piece, which the bench's do.
func respond(fd int, buf []byte) bool {
	n, err := unix.Read(fd, buf)
	if errors.Is(err, unix.EAGAIN) {
		return true
	}
	if err != nil || n == 0 || !bytes.HasSuffix(buf[:n], requestEnd) {
		return false
	}
	if bytes.Contains(buf[:n], closeHeader) {
		_, _ = unix.Write(fd, answerLast) // a visitor that has gone does not mind
		return false
	}
	_, err = unix.Write(fd, answer)
	return err == nil
}
