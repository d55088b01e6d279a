package netctl

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
)

// catching makes an error of a panic, as the daemon's guard does.
func catching(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f()
}

// TestWatching: who reads messages goes on after a panic, until there are no more.
func TestWatching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &Net{cfg: Config{Guard: catching}, log: slog.New(slog.DiscardHandler)}
		reads := 0
		n.watching(func() {
			if reads++; reads < 3 {
				panic("a message")
			}
		})
		if reads != 3 {
			t.Errorf("%d reads, want 3", reads)
		}
	})
}

// TestGuarded: without a guard there is none.
func TestGuarded(t *testing.T) {
	mine := errors.New("mine")
	if err := (Config{}).guarded(func() error { return mine }); !errors.Is(err, mine) {
		t.Errorf("the error is %v", err)
	}
	if err := (Config{Guard: catching}).guarded(func() error { panic(mine) }); err == nil {
		t.Error("there is no error")
	}
}
