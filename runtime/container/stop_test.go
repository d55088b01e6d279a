package container

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/tests/testutil"
	"golang.org/x/sys/unix"
)

func TestRootStop(t *testing.T) {
	e := newEnv(t)
	spec := e.spec("wait")
	c := e.start(spec)
	e.saw(spec, "waiting")
	if err := c.Stop(testutil.Context(t, limit), limit); err != nil {
		t.Fatal(err)
	}
	if exit, ended := c.Exit(); !ended || exit.Code != 7 {
		t.Errorf("exit %+v %v, want code 7", exit, ended)
	}
	if err := c.Stop(testutil.Context(t, limit), limit); err != nil {
		t.Errorf("stopping again: %v", err)
	}
}

func TestRootStopKills(t *testing.T) {
	e := newEnv(t)
	// On a slow machine the first of these graces may be over before it has said that the signal has come.
	for _, grace := range []time.Duration{50 * time.Millisecond, time.Second, limit / 2} {
		spec := e.spec("ignore")
		c := e.start(spec)
		e.saw(spec, "ignoring")
		if err := c.Stop(testutil.Context(t, limit), grace); err != nil {
			t.Fatal(err)
		}
		if exit, ended := c.Exit(); !ended || exit.Signal != "SIGKILL" {
			t.Errorf("exit %+v %v, want SIGKILL", exit, ended)
		}
		if strings.Contains(e.output(spec), "ignored") {
			return
		}
	}
	t.Error("the stop signal has not come")
}

// TestRootStopUnheeded: a program without a handler does not cost the grace.
func TestRootStopUnheeded(t *testing.T) {
	e := newEnv(t)
	spec := e.spec("sleep")
	spec.StopSignal = "SIGRTMIN+3" // Go's runtime handles all others
	c := e.start(spec)
	e.saw(spec, "sleeping")
	c.state.StopSignal = int(unix.SIGSTOP)                                   // nobody can catch it
	if err := c.Stop(testutil.Context(t, limit), 24*time.Hour); err != nil { // for which the context does not wait
		t.Error(err)
	}
}

func TestRootStopFrozen(t *testing.T) {
	e := newEnv(t)
	spec := e.spec("wait")
	c := e.start(spec)
	e.saw(spec, "waiting")
	if err := c.Group().Freeze(testutil.Context(t, limit)); err != nil {
		t.Fatal(err)
	}
	if err := c.Stop(testutil.Context(t, limit), limit); err != nil {
		t.Fatal(err)
	}
	if exit, _ := c.Exit(); exit.Code != 7 {
		t.Errorf("exit %+v, want code 7", exit)
	}
}

func TestRootStopCancelled(t *testing.T) {
	e := newEnv(t)
	spec := e.spec("ignore")
	c := e.start(spec)
	e.saw(spec, "ignoring")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := c.Stop(ctx, limit); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want DeadlineExceeded", err)
	}
	e.ended(c) // killed all the same
}

// TestRootKillAll: processes that the program has started die with it.
func TestRootKillAll(t *testing.T) {
	e := newEnv(t)
	spec := e.spec("forks", "3")
	c := e.start(spec)
	testutil.WaitFor(t, limit, "the children", func() error {
		if n := strings.Count(e.output(spec), "waiting"); n != 4 {
			return errors.New("not all are waiting")
		}
		return nil
	})
	pids, err := c.Group().Procs()
	if err != nil || len(pids) != 4 {
		t.Fatalf("processes %v %v, want 4", pids, err)
	}
	if err := c.Kill(testutil.Context(t, limit)); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if p, err := wire.FindProcess(pid); err == nil && alive(p) {
			t.Errorf("process %d is alive", pid)
		}
	}
}

// TestRootMonitorKilled: without its monitor a container is ended.
func TestRootMonitorKilled(t *testing.T) {
	e := newEnv(t)
	spec := e.spec("wait")
	c := e.start(spec)
	e.saw(spec, "waiting")
	if err := unix.Kill(c.state.Shim.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if exit := e.ended(c); !exit.MonitorLost || exit.Code != -1 {
		t.Errorf("exit %+v, want MonitorLost", exit)
	}
	if alive(c.init) {
		t.Error("the container's init is alive")
	}
}

// TestRootMonitorTerminated: asked to end, as at shutdown, it ends its container.
func TestRootMonitorTerminated(t *testing.T) {
	e := newEnv(t)
	spec := e.spec("wait")
	c := e.start(spec)
	e.saw(spec, "waiting")
	if err := unix.Kill(c.state.Shim.Pid, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if exit := e.ended(c); exit.MonitorLost || exit.Code != 7 {
		t.Errorf("exit %+v, want code 7", exit)
	}
}

// TestRootIdleSlotKilled: a waiting pair that was killed is replaced.
func TestRootIdleSlotKilled(t *testing.T) {
	e := newEnv(t)
	e.poolFull(e.m.pool)
	e.m.pool.mu.Lock()
	slot := e.m.pool.slots[0]
	e.m.pool.mu.Unlock()
	if err := unix.Kill(slot.shim.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	testutil.WaitClosed(t, limit, "the end of the shim", slot.ended)
	if exit, _ := e.run(e.spec("exit", "5")); exit.Code != 5 {
		t.Errorf("exit %+v, want code 5", exit)
	}
}
