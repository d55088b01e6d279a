package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fcnode/fcnode/tests/testutil"
	"golang.org/x/sys/unix"
)

func newWatcher(t testing.TB) *Watcher {
	t.Helper()
	w, err := NewWatcher(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// TestRootPressure: processes that wait for a processor fire the trigger of
// their group, again and again, and no other group's.
func TestRootPressure(t *testing.T) {
	p := newParent(t)
	testutil.RequireFeature(t, "PSI triggers")
	w := newWatcher(t)
	busy, quiet := newGroup(t, p), newGroupNamed(t, p, "r-2")
	fired := make(chan struct{}, 100)
	var wrong atomic.Int64
	for g, notify := range map[*Group]func(){
		busy: func() {
			select {
			case fired <- struct{}{}:
			default:
			}
		},
		quiet: func() { wrong.Add(1) },
	} {
		trigger, err := g.Pressure(CPU, 100*time.Millisecond, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if trigger.Window < time.Second || trigger.Stall < trigger.Window/10 || trigger.Stall > trigger.Window/10 {
			t.Errorf("%v within %v was made of a tenth of a second", trigger.Stall, trigger.Window)
		}
		if _, err := w.Pressure(trigger, notify); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 * runtime.NumCPU() {
		startIn(t, busy, "sh", "-c", "while :; do :; done")
	}
	for range 2 {
		testutil.Receive(t, 3*limit, "pressure", fired)
	}
	if n := wrong.Load(); n != 0 {
		t.Errorf("%d events of a group without processes", n)
	}
}

func newGroupNamed(t *testing.T, p *Parent, name string) *Group {
	t.Helper()
	g, err := p.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func TestRootPressureBad(t *testing.T) {
	p := newParent(t)
	testutil.RequireFeature(t, "PSI triggers")
	g := newGroup(t, p)
	for _, tt := range [][2]time.Duration{
		{time.Second, time.Millisecond}, {time.Second, time.Minute}, {0, time.Second}, {2 * time.Second, time.Second},
	} {
		if trigger, err := g.Pressure(CPU, tt[0], tt[1]); err == nil {
			t.Errorf("no error for %v within %v", tt[0], tt[1])
			_ = trigger.Close()
		}
	}
	if _, err := p.Open("gone").Pressure(CPU, time.Second, time.Second); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a group that is gone: %v", err)
	}
}

// TestRootWatcherManyGroups: one goroutine and no thread for all of them; a
// group that is removed takes nobody's time, and a watch that is closed tells
// nothing.
func TestRootWatcherManyGroups(t *testing.T) {
	const groups = 200
	p := newParent(t)
	testutil.RequireFeature(t, "PSI triggers")
	w := newWatcher(t)
	before := runtime.NumGoroutine()
	var watches []*Watch
	var told atomic.Int64
	for i := range groups {
		g, err := p.Create(fmt.Sprintf("many-%d", i))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = g.Remove() }) // removed below too
		trigger, err := g.Pressure(Memory, 100*time.Millisecond, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		watch, err := w.Pressure(trigger, func() { told.Add(1) })
		if err != nil {
			t.Fatal(err)
		}
		watches = append(watches, watch)
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines more for %d watches", n-before, groups)
	}
	threads, _ := filepath.Glob("/proc/[0-9]*/comm") // the pattern is well-formed
	threads = slices.DeleteFunc(threads, func(name string) bool {
		comm, _ := os.ReadFile(name) // may have ended
		return string(comm) != "psimon\n"
	})
	t.Logf("%d triggers, %d threads of the kernel's for them", groups, len(threads))
	for i, watch := range watches {
		if i%2 == 0 { // closed before, or after its group is gone
			if err := watch.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := p.Open(fmt.Sprintf("many-%d", i)).Remove(); err != nil {
			t.Error(err)
		}
		if err := watch.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := len(w.watches); n != 0 || told.Load() != 0 {
		t.Errorf("%d watches are left, %d events of groups without processes", n, told.Load())
	}
}

func TestRootMemoryEvents(t *testing.T) {
	p := newParent(t)
	g := newGroup(t, p)
	w := newWatcher(t)
	if _, err := w.MemoryEvents(g, func(MemoryEvents) {}); !p.Has("memory") && !errors.Is(err, ErrNoController) {
		t.Errorf("without the controller: %v, want ErrNoController", err)
	}
	testutil.RequireFeature(t, "memory controller")
	events := make(chan MemoryEvents, 100)
	if _, err := w.MemoryEvents(g, func(m MemoryEvents) { events <- m }); err != nil {
		t.Fatal(err)
	}
	if err := g.Set(Limits{MemoryMax: 8 << 20}); err != nil {
		t.Fatal(err)
	}
	// Without swap it is killed. With it, it would be moved in and out for as
	// long as it likes.
	if err := os.WriteFile(filepath.Join(g.Path(), "memory.swap.max"), []byte("0"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	// Its end is not waited for: with so little memory it may read its own
	// program from the disk again and again instead of being killed.
	startIn(t, g, "sh", "-c", "exec head -c 32M /dev/zero | tail")
	for m := (MemoryEvents{}); m.Max == 0; {
		m = testutil.Receive(t, limit, "an event that the limit was met", events)
	}
	if err := g.KillAll(testutil.Context(t, limit)); err != nil {
		t.Error(err)
	}
}

// TestRootReclaimEmpty: an empty group is nothing to search for memory.
func TestRootReclaimEmpty(t *testing.T) {
	g := newGroup(t, newParent(t))
	testutil.RequireFeature(t, "memory.reclaim")
	begin := time.Now()
	got, err := g.Reclaim(testutil.Context(t, limit), 1<<30)
	if err != nil || got > 1<<20 {
		t.Errorf("%d bytes, %v", got, err)
	}
	t.Logf("it took %v", time.Since(begin))
}

// TestRootInterruptible: a system call that would wait for ever ends with the
// context, and the thread is as before.
func TestRootInterruptible(t *testing.T) {
	testutil.Privileged(t)
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = unix.Close(pipe[0]), unix.Close(pipe[1]) }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer interruptible(ctx)()
		var err error
		for err == nil || ctx.Err() == nil {
			// poll is never begun anew by the kernel after a signal
			_, err = unix.Poll([]unix.PollFd{{Fd: int32(pipe[0]), Events: unix.POLLIN}}, -1)
		}
		done <- err
	}()
	if err := testutil.Receive(t, limit, "the end of a system call", done); !errors.Is(err, unix.EINTR) {
		t.Errorf("error %v, want EINTR", err)
	}
}

// TestRootUsage: what is known here is what there are controllers for.
func TestRootUsage(t *testing.T) {
	p := newParent(t)
	g := newGroup(t, p)
	startIn(t, g, "sleep", "1000")
	u, err := g.Usage()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", u)
	for controller, known := range map[string]bool{"memory": u.Memory.Known, "pids": u.Pids.Known, "io": u.IO.Known, "cpu": u.CPU.ThrottlingKnown} {
		if known != p.Has(controller) {
			t.Errorf("%s is known: %v, the controller is there: %v", controller, known, p.Has(controller))
		}
	}
	if !u.CPU.Known || u.Memory.Known && u.Memory.Current == 0 || u.Pids.Known && u.Pids.Current != 1 {
		t.Errorf("usage %+v", u)
	}
}
