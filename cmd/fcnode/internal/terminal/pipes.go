package terminal

import (
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Pipes are the near ends of a process' streams.
type Pipes struct {
	In       *os.File // is written
	Out, Err *os.File // are read
}

// JoinPipes copies between streams and a process' pipes until wait returns, and
// then what is left of the output. in may be nil. Nothing of in is read any
// more when it returns, if in is a file. It returns wait's error.
func JoinPipes(in io.Reader, out, errs io.Writer, p Pipes, wait func() error) error {
	stopInput, err := feed(in, p.In)
	if err != nil {
		return err
	}
	var copying sync.WaitGroup
	follow := func(w io.Writer, r *os.File) {
		copying.Go(func() {
			// Only a Reader, so that nothing but Read is used, which heeds
			// deadlines.
			if _, err := io.Copy(w, struct{ io.Reader }{r}); err != nil && !os.IsTimeout(err) {
				_ = r.Close() // nobody takes it: the process is to learn that
			}
		})
	}
	follow(out, p.Out)
	follow(errs, p.Err)
	err = wait()
	stopInput()
	for _, r := range []*os.File{p.Out, p.Err} {
		_ = r.SetReadDeadline(time.Now())
	}
	copying.Wait()
	drainPipe(out, p.Out)
	drainPipe(errs, p.Err)
	return err
}

// drainPipe copies what is in the pipe: all that has been written by processes
// that have ended, and nothing of one that goes on writing.
func drainPipe(out io.Writer, r *os.File) {
	raw, err := r.SyscallConn()
	if err != nil {
		return // closed
	}
	var n int
	if raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }) == nil && err == nil {
		drainFrom(out, r, n)
	}
}

// feed writes what it reads of in to the pipe, and closes it at the end.
func feed(in io.Reader, to *os.File) (stop func(), err error) {
	user, ok := in.(*os.File)
	switch {
	case in == nil:
		return func() {}, to.Close()
	case !ok:
		go func() {
			defer to.Close()
			_, _ = io.Copy(to, in)
		}()
		return func() { _ = to.SetWriteDeadline(time.Now()) }, nil
	}
	return feedKeys(user, to)
}

func feedKeys(user, to *os.File) (stop func(), err error) {
	stopReading, err := readKeys(user, func(keys []byte) bool {
		if len(keys) == 0 {
			_ = to.Close() // the end
			return false
		}
		_, err := to.Write(keys)
		return err == nil
	})
	return func() {
		_ = to.SetWriteDeadline(time.Now()) // it may be full, with nobody who reads it
		stopReading()
	}, err
}
