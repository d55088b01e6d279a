package thread

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Throwaway runs f on a thread of its own, which ends with it. f need not undo what
// it does to its thread, so undoing cannot fail. Goroutines that f starts run elsewhere.
func Throwaway(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The runtime cannot end the main thread. It would stay as f leaves it, with
			// a namespace that it keeps alive and that all see who look into /proc/self.
			// While it waits here the other goroutine gets another thread.
			done <- Throwaway(f)
			runtime.UnlockOSThread()
			return
		}
		done <- f() // never unlocked: the runtime ends the thread with the goroutine
	}()
	return <-done
}
