package guard_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/guard"
	"github.com/fcnode/fcnode/runtime/thread"
)

var errMine = errors.New("mine")

// burst is where it happens.
func burst() error { panic(errMine) }

// TestRun: a panic is an error with the stack of where it was, on another thread, too; the first guard's fault stays the one that it is.
func TestRun(t *testing.T) {
	for what, f := range map[string]func(){
		"here":               func() { _ = burst() },
		"on another thread":  func() { _ = thread.Throwaway(burst) },
		"on a third one":     func() { _ = thread.Throwaway(func() error { return thread.Throwaway(burst) }) },
		"as a fault":         func() { panic(guard.Run(func() { _ = burst() })) },
		"as a fault, beyond": func() { _ = thread.Throwaway(func() error { panic(guard.Run(func() { _ = burst() })) }) },
	} {
		fault := guard.Run(f)
		if fault == nil || fault.Error() != "panic: mine" || !errors.Is(fault, errMine) || !strings.Contains(string(fault.Stack), "guard_test.burst") {
			t.Errorf("%s: %+v", what, fault)
		}
	}
	if fault := guard.Run(func() {}); fault != nil {
		t.Errorf("nothing panicked: %v", fault)
	}
}
