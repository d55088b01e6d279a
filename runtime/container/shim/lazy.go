package shim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"golang.org/x/sys/unix"
)

// lazy is the memory of a restored container that is not there yet.
type lazy struct {
	server *criu.Pages
	held   []*os.File // so that what is missing is never taken for zeroes
	marker string     // a file: no checkpoint may be taken while it is there
	done   func()
}

// startLazy starts the process that gives the container its memory on demand. It is a child
// of this one and not in the replica's cgroup, which may be frozen at any time.
func (r *restorer) startLazy() error {
	marker := filepath.Join(r.req.Dir, wire.LazyFile)
	if err := os.WriteFile(marker, nil, 0o600); err != nil {
		return fmt.Errorf("recording that memory is missing: %w", err)
	}
	server, err := r.tool.ServePages(r.held, r.req.Dir, nil)
	if err != nil {
		return err
	}
	r.lazy = &lazy{server: server, marker: marker, done: r.spent}
	return nil
}

// holdLazy keeps what is missing from being taken for zeroes.
func (s *shim) holdLazy() (err error) {
	if s.lazy != nil {
		s.lazy.held, err = s.lazy.server.Hold()
	}
	return err
}

// served waits until the server of memory has shown that it works. It copies
// without being asked, from the end of the restore on. As visitors are still held
// by then, they get a cold start if it does not.
func (s *shim) served(ctx context.Context) error {
	if s.lazy == nil {
		return nil
	}
	server := s.lazy.server
	before, err := server.Read()
	for now := before; err == nil && now == before; now, err = server.Read() {
		var status unix.WaitStatus
		if pid, _ := unix.Wait4(server.Pid(), &status, unix.WNOHANG, nil); pid == server.Pid() {
			return s.lazyEnded(status)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the server of its memory gives none: %w", context.Cause(ctx))
		case <-time.After(time.Millisecond / 2):
		}
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil // this kernel does not count it
	}
	return err
}

// lazyEnded is called when the server of memory has ended before the monitor has
// taken over: all is there, or the container cannot go on.
func (s *shim) lazyEnded(status unix.WaitStatus) (err error) {
	l := s.lazy
	s.lazy = nil
	if !status.Exited() || status.ExitStatus() != 0 {
		killGroup(s.cgroup) // before the memory is let go
		err = fmt.Errorf("%w: the server of its memory ended before all was there", criu.ErrRestore)
	} else {
		_ = os.Remove(l.marker) // what is left of it forbids checkpoints, no more
	}
	for _, f := range l.held {
		_ = f.Close() // not written to
	}
	l.done()
	return err
}

// endLazy ends the server of a restore that has failed.
func (s *shim) endLazy() {
	if s.lazy == nil {
		return
	}
	if err := unix.Kill(s.lazy.server.Pid(), unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return // it is this process' child
	}
	s.lazy = nil
}
