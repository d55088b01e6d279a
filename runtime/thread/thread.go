package thread

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// Panic is a panic of f, with which Throwaway panics where it was called: nobody
// else could recover it.
type Panic struct {
	Value any
	Stack []byte // of the goroutine of f
}

// Error implements error, for a panic that nobody recovers.
func (p *Panic) Error() string { return fmt.Sprintf("%v\n\n%s", p.Value, p.Stack) }

// Unwrap gives what was panicked with, where that was an error.
func (p *Panic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// Origin is what was panicked with, and where.
func (p *Panic) Origin() (value any, stack []byte) { return p.Value, p.Stack }

// result is how a function ended.
type result struct {
	err      error
	panicked *Panic
}

// Throwaway runs f on a thread of its own, which ends with it. f need not undo what
// it does to its thread, so undoing cannot fail. Goroutines that f starts run elsewhere.
// A panic of f goes on in the caller, as a *Panic.
func Throwaway(f func() error) error {
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The runtime cannot end the main thread. It would stay as f leaves it, with
			// a namespace that it keeps alive and that all see who look into /proc/self.
			// While it waits here the other goroutine gets another thread.
			done <- run(func() error { return Throwaway(f) })
			runtime.UnlockOSThread()
			return
		}
		done <- run(f) // never unlocked: the runtime ends the thread with the goroutine
	}()
	r := <-done
	if r.panicked != nil {
		panic(r.panicked)
	}
	return r.err
}

func run(f func() error) (r result) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case *Panic: // of a Throwaway in f
			r.panicked = p
		default:
			r.panicked = &Panic{Value: p, Stack: debug.Stack()}
		}
	}()
	return result{err: f()}
}
