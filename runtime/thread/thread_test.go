package thread

import (
	"errors"
	"runtime"
	"strings"
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

// TestThrowawayPanics: a panic is the caller's, who may have a guard, with where it was; the thread ends.
func TestThrowawayPanics(t *testing.T) {
	mine := errors.New("mine")
	for range 50 {
		var tid int
		caught := func() (p any) {
			defer func() { p = recover() }()
			_ = Throwaway(func() error {
				return Throwaway(func() error {
					tid = unix.Gettid()
					panic(mine)
				})
			})
			return nil
		}()
		p, ok := caught.(*Panic)
		if !ok || !errors.Is(p, mine) || !strings.Contains(string(p.Stack), "TestThrowawayPanics") || !strings.Contains(p.Error(), "mine\n\ngoroutine ") {
			t.Fatalf("the caller's panic is %T %v", caught, caught)
		}
		for i := 0; unix.Tgkill(unix.Getpid(), tid, 0) == nil; i++ { // until it is gone
			runtime.Gosched()
		}
	}
}
