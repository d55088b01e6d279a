package logs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// watcher wakes a reader when a file in a folder changes, or now and then where
// the kernel grants no more inotify instances: sites can use up those of root.
type watcher struct {
	*os.File // nil: there is none
}

// lookEvery is how often a reader looks that nobody wakes.
const lookEvery = 250 * time.Millisecond

// Close ends the watch.
func (w *watcher) Close() error {
	if w.File == nil {
		return nil
	}
	return w.File.Close()
}

// watchDir watches dir, which is made if need be: a site that has never run has
// no log to follow yet.
func watchDir(dir string) (*watcher, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the log folder: %w", err)
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM) {
		return &watcher{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("watching %s: %w", dir, err)
	}
	w := &watcher{os.NewFile(uintptr(fd), "inotify")}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_FROM|unix.IN_DELETE_SELF); errors.Is(err, unix.ENOSPC) {
		return &watcher{}, w.Close()
	} else if err != nil {
		return nil, errors.Join(fmt.Errorf("watching %s: %w", dir, err), w.Close())
	}
	return w, nil
}

// wait waits for any change. What the change was does not matter: the reader
// looks for itself.
func (w *watcher) wait(ctx context.Context) error {
	if w.File == nil {
		select {
		case <-time.After(lookEvery):
			return nil
		case <-ctx.Done():
			return fmt.Errorf("watching for new lines: %w", ctx.Err())
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = w.SetReadDeadline(time.Unix(1, 0)) }) // wakes the read
	defer stop()
	buf := make([]byte, 16<<10)
	if _, err := w.Read(buf); err != nil {
		return fmt.Errorf("watching for new lines: %w", err)
	}
	return nil
}
