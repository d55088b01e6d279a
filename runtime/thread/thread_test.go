package thread

import (
	"errors"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestThrowaway: each call has a thread to itself, which is not the main one, and ends.
func TestThrowaway(t *testing.T) {
	mine := errors.New("mine")
	for range 200 {
		var tid int
		err := Throwaway(func() error {
			tid = unix.Gettid()
			return mine
		})
		if !errors.Is(err, mine) {
			t.Fatalf("the error is %v", err)
		}
		if tid == unix.Getpid() {
			t.Fatal("it ran on the main thread")
		}
		for i := 0; unix.Tgkill(unix.Getpid(), tid, 0) == nil; i++ { // until it is gone
			runtime.Gosched()
		}
	}
}
