package decode

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// name is what the process is called, and known by.
const name = "fcnode-layer"

// nobody is the user of the process.
const nobody = 65534

// pipeSize is what the pipes hold, in bytes, where the kernel gives so much.
const pipeSize = 1 << 20

// What the process ends with.
const (
	exitContent  = 1
	exitConfined = 3 // it is not; a Go program that panics ends with 2
)

// ErrContent means that the bytes are no tar, or not compressed as they say.
var ErrContent = errors.New("it cannot be read")

// Reader gives the tar of a layer.
type Reader struct {
	cancel context.CancelFunc
	cmd    *exec.Cmd
	out    *os.File
	tar    *bufio.Reader // of it: headers are read in small pieces
	said   head

	from      io.ReadCloser
	fromError error         // that reading it ended with; after fed
	fed       chan struct{} // closed when nothing reads from it any more

	ended chan struct{} // closed when the process has
	err   error         // of the process; after ended
}

// keepOwn keeps what this program was started with from the processes that it starts: a shell's files, say. What it
// opens itself they do not have anyway.
var keepOwn = sync.OnceValue(func() error {
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("keep files from the process that reads layers: %w", err)
	}
	return nil
})

// Start starts a process that reads a layer. The context ends it. From is closed by
// Close; after the end of the tar it may be read on.
func Start(ctx context.Context, from io.ReadCloser) (*Reader, error) {
	if err := keepOwn(); err != nil {
		return nil, err
	}
	r := &Reader{from: from, fed: make(chan struct{}), ended: make(chan struct{})}
	in, feed, err := pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	out, into, err := pipe()
	if err != nil {
		return nil, errors.Join(err, feed.Close())
	}
	defer into.Close()
	ctx, r.cancel = context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	r.cmd = cmd
	cmd.Args = []string{name}
	cmd.Env = []string{"GOMAXPROCS=1"} // of which Go would otherwise look for news, in files
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, into, &r.said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	}
	started := make(chan error)
	go func() {
		// Pdeathsig is about the thread that has started it, and others of the
		// daemon end.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			r.err = cmd.Wait()
			close(r.ended)
		}
	}()
	if err := <-started; err != nil {
		r.cancel()
		return nil, errors.Join(fmt.Errorf("start the process that reads layers: %w", err), feed.Close(), out.Close())
	}
	r.out, r.tar = out, bufio.NewReaderSize(out, bufferSize)
	go r.feed(feed)
	return r, nil
}

func pipe() (r, w *os.File, err error) {
	if r, w, err = os.Pipe(); err != nil {
		return nil, nil, fmt.Errorf("make a pipe for a layer: %w", err)
	}
	if c, err := r.SyscallConn(); err == nil { // with a smaller one it is slower, and that is all
		_ = c.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
	}
	return r, w, nil
}

// feed gives the blob to the process.
func (r *Reader) feed(to *os.File) {
	buf := make([]byte, bufferSize)
	for {
		n, err := r.from.Read(buf)
		if _, gone := to.Write(buf[:n]); gone != nil {
			break // the process says why it has ended
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				r.fromError = err
			}
			break
		}
	}
	close(r.fed) // before the process can see the end
	_ = to.Close()
}

// Read implements [io.Reader]. The end of the tar is that of a process that has read
// all of the blob and found no fault.
func (r *Reader) Read(p []byte) (int, error) {
	n, err := r.tar.Read(p)
	if errors.Is(err, io.EOF) {
		if failed := r.result(); failed != nil {
			return n, failed
		}
	}
	return n, err
}

// result waits for the end of the process, and for that of the reading from the blob.
func (r *Reader) result() error {
	<-r.ended
	select {
	case <-r.fed:
	default: // it may wait for a network
		if r.err != nil {
			_ = r.from.Close()
		}
		<-r.fed
		if r.err != nil {
			r.fromError = nil // from closing it
		}
	}
	var exit *exec.ExitError
	switch {
	case r.fromError != nil:
		return fmt.Errorf("read it: %w", r.fromError)
	case errors.As(r.err, &exit) && exit.ExitCode() == exitContent:
		return fmt.Errorf("%w: %s", ErrContent, r.said.line())
	case r.err != nil:
		return fmt.Errorf("the process that read it has ended: %w%s", r.err, r.said.after(": "))
	}
	return nil
}

// Close ends the process, if it has not ended, and waits for that.
func (r *Reader) Close() error {
	r.cancel()
	<-r.ended
	err := r.from.Close()
	<-r.fed
	return errors.Join(err, r.out.Close())
}

// head keeps the beginning of what the process says, which is not to be believed.
type head struct{ text strings.Builder }

func (h *head) Write(p []byte) (int, error) {
	h.text.Write(p[:min(len(p), max(0, 1024-h.text.Len()))])
	return len(p), nil
}

// line is the first one, without what is not to be printed.
func (h *head) line() string {
	line, _, _ := strings.Cut(h.text.String(), "\n")
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, line)
}

func (h *head) after(before string) string {
	if line := h.line(); line != "" {
		return before + line
	}
	return ""
}
