// Package terminal owns what the command line does with terminals: it tells
// whether a file is one and how wide it is, and joins the user's, or pipes,
// with a process elsewhere.
package terminal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"
)

// After the end of the process its output may still come: the kernel moves it
// from one end of a terminal to the other in the background. A program that
// goes on and holds the other end, too, is not listened to for ever.
const (
	drain    = 200 * time.Millisecond // of silence
	drainMax = 1 << 20                // bytes; a terminal buffers much less
)

// File returns the file behind a standard stream if it is a terminal.
func File(stream any) (*os.File, bool) {
	f, ok := stream.(*os.File)
	if !ok {
		return nil, false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return f, err == nil
}

// Width returns the columns of a stream that is a terminal.
func Width(stream any) (columns int, ok bool) {
	f, ok := File(stream)
	if !ok {
		return 0, false
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 {
		return 0, false
	}
	return int(size.Col), true
}

// Size returns the size of a terminal, or the usual one when it does not know.
func Size(f *os.File) (rows, cols uint16) {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 || size.Row == 0 {
		return 24, 80
	}
	return size.Row, size.Col
}

// Join copies between the user's terminal, which is raw meanwhile, and the
// master of another one, with changes of size, until wait returns; then it
// copies what is left of the output. It returns wait's error, or its own.
func Join(user *os.File, out io.Writer, master *os.File, wait func() error) error {
	con, err := console.ConsoleFromFile(user)
	if err != nil {
		return fmt.Errorf("use the terminal: %w", err)
	}
	if err := con.SetRaw(); err != nil {
		return fmt.Errorf("make the terminal raw: %w", err)
	}
	defer con.Reset() //nolint:errcheck // there is nothing else to try

	stopResizing := followSize(user, master)
	defer stopResizing()
	stopInput, err := feedKeys(user, master)
	if err != nil {
		return err
	}
	output := make(chan struct{})
	go func() {
		defer close(output)
		_, _ = io.Copy(out, master)
	}()
	err = wait()
	stopInput()
	_ = master.SetReadDeadline(time.Now())
	<-output
	drainFrom(out, master, drainMax)
	return err
}

// drainFrom copies what is left of an output, at most limit bytes.
func drainFrom(out io.Writer, from *os.File, limit int) {
	buf := make([]byte, 32<<10)
	for limit > 0 {
		_ = from.SetReadDeadline(time.Now().Add(drain))
		n, err := from.Read(buf[:min(limit, len(buf))])
		if _, writeErr := out.Write(buf[:n]); err != nil || writeErr != nil {
			return
		}
		limit -= n
	}
}

// followSize keeps the master as large as the user's terminal.
func followSize(user, master *os.File) (stop func()) {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, unix.SIGWINCH)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range changed {
			rows, cols := Size(user)
			setSize(master, rows, cols)
		}
	}()
	return func() {
		signal.Stop(changed)
		close(changed)
		<-done
	}
}

func setSize(master *os.File, rows, cols uint16) {
	raw, err := master.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	})
}

// readKeys hands on what the user types until take has had enough, or stop is
// called, which returns when nothing is read any more. The end of the file is
// handed on as nothing. Terminals cannot be read with a deadline, so it polls
// for something to read or for the end.
func readKeys(user *os.File, take func([]byte) bool) (stop func(), err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe to stop reading the terminal: %w", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		fds := []unix.PollFd{{Fd: int32(user.Fd()), Events: unix.POLLIN}, {Fd: int32(r.Fd()), Events: unix.POLLIN}}
		for {
			if _, err := unix.Poll(fds, -1); err != nil {
				if errors.Is(err, unix.EINTR) {
					continue
				}
				return
			}
			if fds[1].Revents != 0 {
				return
			}
			n, err := unix.Read(int(fds[0].Fd), buf)
			if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
				continue
			}
			if !take(buf[:max(n, 0)]) || err != nil || n == 0 {
				return
			}
		}
	}()
	return func() {
		w.Close()
		<-done
		r.Close()
	}, nil
}
