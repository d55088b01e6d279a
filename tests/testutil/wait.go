package testutil

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// EnvTimeScale names the variable by which all deadlines of tests are multiplied
// (a number of at least 1). The rig sets it for emulated machines, which run 5 to 30 times slower.
const EnvTimeScale = "FCNODE_TIME_SCALE"

// pollInterval is short against what a test waits for and long against a look at /proc.
const pollInterval = 5 * time.Millisecond

// Timeout returns d stretched by FCNODE_TIME_SCALE.
func Timeout(d time.Duration) time.Duration {
	return time.Duration(float64(d) * timeScale(os.Getenv(EnvTimeScale)))
}

func timeScale(s string) float64 {
	if s == "" {
		return 1
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f < 1 {
		panic(fmt.Sprintf("%s=%q is not a number of at least 1", EnvTimeScale, s))
	}
	return f
}

// Context returns a context that ends with the test or after d (scaled).
func Context(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Timeout(d))
	t.Cleanup(cancel)
	return ctx
}

// Receive returns the next value of c. It fails the test when none comes within d
// (scaled) or c is closed; what says in the message what was waited for.
func Receive[T any](t testing.TB, d time.Duration, what string, c <-chan T) T {
	t.Helper()
	timer := time.NewTimer(Timeout(d))
	defer timer.Stop()
	select {
	case v, ok := <-c:
		if !ok {
			t.Fatalf("waiting for %s: the channel was closed", what)
		}
		return v
	case <-timer.C:
		t.Fatalf("waiting for %s: nothing within %v", what, Timeout(d))
	}
	panic("unreachable")
}

// WaitClosed returns when c is closed (or yields); it fails the test after d (scaled).
func WaitClosed[T any](t testing.TB, d time.Duration, what string, c <-chan T) {
	t.Helper()
	timer := time.NewTimer(Timeout(d))
	defer timer.Stop()
	select {
	case <-c:
	case <-timer.C:
		t.Fatalf("waiting for %s: nothing within %v", what, Timeout(d))
	}
}

// WaitLine reads lines of r until one contains want, and returns it. It fails the
// test when r ends or d (scaled) passes first, showing what was read. Use it on the
// output of a program that says when it is ready; the reader must not be read by anybody else
// until WaitLine returns.
func WaitLine(t testing.TB, d time.Duration, r *bufio.Reader, want string) string {
	t.Helper()
	type result struct {
		line string
		err  error
	}
	var seen strings.Builder
	done := make(chan result, 1)
	go func() {
		for {
			line, err := r.ReadString('\n')
			seen.WriteString(line)
			if strings.Contains(line, want) {
				done <- result{line: strings.TrimRight(line, "\n")}
				return
			}
			if err != nil {
				done <- result{err: err}
				return
			}
		}
	}()
	timer := time.NewTimer(Timeout(d))
	defer timer.Stop()
	select {
	case res := <-done:
		if errors.Is(res.err, io.EOF) {
			t.Fatalf("output ended without a line containing %q:\n%s", want, seen.String())
		}
		if res.err != nil {
			t.Fatalf("waiting for a line containing %q: %v", want, res.err)
		}
		return res.line
	case <-timer.C:
		t.Fatalf("no line containing %q within %v", want, Timeout(d))
	}
	panic("unreachable")
}

// WaitExit returns when the process has ended, told by its pidfd; a process that is
// already gone counts as ended. It does not reap: that is its parent's business.
func WaitExit(t testing.TB, d time.Duration, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH {
		return
	}
	if err != nil {
		t.Fatalf("pidfd_open(%d): %v", pid, err)
	}
	defer unix.Close(fd)
	deadline := time.Now().Add(Timeout(d))
	for {
		left := time.Until(deadline)
		if left <= 0 {
			t.Fatalf("process %d did not end within %v", pid, Timeout(d))
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if n > 0 {
			return
		}
		if err != nil && err != unix.EINTR {
			t.Fatalf("waiting for the end of process %d: %v", pid, err)
		}
	}
}

// WaitFor polls cond until it returns nil and fails the test with its last error
// after d (scaled). Only for facts that neither the kernel nor the code announces;
// everything else is waited for by its event.
func WaitFor(t testing.TB, d time.Duration, what string, cond func() error) {
	t.Helper()
	deadline := time.Now().Add(Timeout(d))
	for {
		err := cond()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waiting for %s: not within %v: %v", what, Timeout(d), err)
		}
		time.Sleep(pollInterval)
	}
}
