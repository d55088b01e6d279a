package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// waitEvent waits until cgroup.events of the cgroup dir has the line event,
// e.g. "populated 0". The kernel announces a change by POLLPRI. A cgroup that
// is gone has no processes: any wait for it is over.
func waitEvent(ctx context.Context, dir, event string) error {
	f, err := os.Open(filepath.Join(dir, "cgroup.events"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("watch cgroup %s: %w", dir, err)
	}
	defer f.Close() // read only
	wake, stop, err := cancelFD(ctx)
	if err != nil {
		return err
	}
	defer stop()
	buf := make([]byte, 512)
	for {
		n, err := f.ReadAt(buf, 0)
		if n == 0 && err != nil {
			if errors.Is(err, unix.ENODEV) {
				return nil
			}
			return fmt.Errorf("read the events of cgroup %s: %w", dir, err)
		}
		for line := range strings.Lines(string(buf[:n])) {
			if strings.TrimSpace(line) == event {
				return nil
			}
		}
		fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLPRI}, {Fd: int32(wake), Events: unix.POLLIN}}
		if err := pollEINTR(fds); err != nil {
			return fmt.Errorf("watch cgroup %s: %w", dir, err)
		}
		if fds[1].Revents != 0 {
			return fmt.Errorf("wait for %q in cgroup %s: %w", event, dir, context.Cause(ctx))
		}
	}
}

// waitMembersGone waits until none of the processes runs any more (a zombie
// counts as gone, as its pidfd is readable).
func waitMembersGone(ctx context.Context, pids []int) error {
	wake, stop, err := cancelFD(ctx)
	if err != nil {
		return err
	}
	defer stop()
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // gone
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(wake), Events: unix.POLLIN}}
		err = pollEINTR(fds)
		_ = unix.Close(fd)
		if err != nil {
			return fmt.Errorf("wait for process %d: %w", pid, err)
		}
		if fds[0].Revents == 0 {
			return fmt.Errorf("wait for process %d: %w", pid, context.Cause(ctx))
		}
	}
	return nil
}

// cancelFD gives a descriptor that becomes readable when ctx ends.
func cancelFD(ctx context.Context) (fd int, stop func(), err error) {
	fd, err = unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return -1, nil, fmt.Errorf("make an eventfd: %w", err)
	}
	fired := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		_, _ = unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // cannot fail: 1 fits
		close(fired)
	})
	return fd, func() {
		if !cancel() {
			<-fired // do not close under the writer
		}
		_ = unix.Close(fd)
	}, nil
}

func pollEINTR(fds []unix.PollFd) error {
	for {
		if _, err := unix.Poll(fds, -1); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
