package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// reclaimChunk is what the kernel is asked for at once: between two chunks the
// progress and the context are looked at. 6.1 does not look at signals in
// between.
const reclaimChunk = 4 << 20

// Reclaim asks the kernel to take memory from the group: file pages are dropped
// or written back, others go to the swap (see DetectSwap). It stops at ctx, and
// returns what was reclaimed until then with ctx's error. To get less than
// asked for is no error: the kernel finds no more. A frozen group can be
// reclaimed. ErrNoController: memory is not accounted here.
func (g *Group) Reclaim(ctx context.Context, bytes uint64) (reclaimed uint64, err error) {
	if err := g.parent.need("memory"); err != nil {
		return 0, err
	}
	fd, err := unix.Open(filepath.Join(g.Path(), "memory.reclaim"), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, os.ErrNotExist) {
		return 0, &ControllerError{Lack{
			Controller: "memory", Limits: "how much of a sleeping site stays in memory",
			Why: "this kernel has no memory.reclaim", Remedy: "use Linux 5.19 or later",
		}}
	}
	if err != nil {
		return 0, fmt.Errorf("open memory.reclaim of cgroup %s: %w", g.Path(), err)
	}
	defer unix.Close(fd) // every write has told its error
	defer interruptible(ctx)()
	for reclaimed < bytes {
		if ctx.Err() != nil {
			return reclaimed, fmt.Errorf("reclaim memory of cgroup %s: %w", g.Path(), context.Cause(ctx))
		}
		got, more, err := g.reclaimOnce(fd, bytes-reclaimed)
		if err != nil {
			return reclaimed, err
		}
		reclaimed += got
		if !more {
			break
		}
	}
	return reclaimed, nil
}

// reclaimOnce reclaims one chunk. more is false when there is no more to get.
//
// The kernel is never asked for more than there is: it looks for pages of an
// empty group again and again, for minutes on 6.12 and 7.2 in a virtual
// machine. It is not given a swappiness either, which 6.1 refuses.
func (g *Group) reclaimOnce(fd int, wanted uint64) (got uint64, more bool, err error) {
	before, err := g.value("memory.current")
	if err != nil {
		return 0, false, err
	}
	chunk := min(wanted, before, reclaimChunk)
	if chunk < uint64(os.Getpagesize()) {
		return 0, false, nil
	}
	_, writeErr := unix.Write(fd, []byte(number(chunk)))
	after, err := g.value("memory.current")
	if err != nil {
		return 0, false, err
	}
	got = before - min(before, after)
	switch {
	case writeErr == nil:
		return max(got, chunk), true, nil
	case errors.Is(writeErr, unix.EAGAIN): // tried hard, and got less
		return got, false, nil
	case errors.Is(writeErr, unix.EINTR): // by us, or by the Go runtime
		return got, true, nil
	}
	return got, false, fmt.Errorf("reclaim memory of cgroup %s: %w", g.Path(), writeErr)
}

// interruptible lets the end of ctx interrupt system calls of the calling
// goroutine, which is tied to its thread until undo is called. The signal is
// the one that the Go runtime uses for itself and handles at any time.
func interruptible(ctx context.Context) (undo func()) {
	runtime.LockOSThread()
	pid, tid := unix.Getpid(), unix.Gettid()
	over := make(chan struct{})
	var sending sync.WaitGroup
	sending.Add(1)
	stop := context.AfterFunc(ctx, func() {
		defer sending.Done()
		// Again and again: one that comes just before the call is lost.
		for again := time.NewTicker(time.Millisecond); ; <-again.C {
			select {
			case <-over:
				again.Stop()
				return
			default:
				_ = unix.Tgkill(pid, tid, unix.SIGURG) // the thread is there: it waits for this to end
			}
		}
	})
	return func() {
		close(over)
		if !stop() {
			sending.Wait()
		}
		runtime.UnlockOSThread()
	}
}
