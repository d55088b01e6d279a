package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/tests/testutil"
	"golang.org/x/sys/unix"
)

// TestRootInterruptedDump ends the dump's context after ever longer times: the site
// goes on as if nothing had been, and nothing is left of the image.
func TestRootInterruptedDump(t *testing.T) {
	e := newEnv(t)
	needCRIU(t, e.m)
	ns := replicaNS(t)
	spec := e.counterSpec(ns, "8")
	c := e.start(spec)
	e.saw(spec, "listening")
	ctx := testutil.Context(t, 10*limit)
	interrupted, count := 0, 0
	for after := time.Millisecond; interrupted < 12 || after < 40*time.Millisecond; after += 3 * time.Millisecond {
		dumping, cancel := context.WithTimeout(ctx, after)
		_, err := c.Checkpoint(dumping, e.checkpointDir(), options())
		cancel()
		switch {
		case err == nil:
			after = 0 // quicker than that: begin anew
			err = criu.Remove(e.checkpointDir())
		case errors.Is(err, context.DeadlineExceeded):
			interrupted++
			err = nil
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Group().Thaw(ctx); err != nil {
			t.Fatal(err)
		}
		count++
		if got := get(t, ns, "/count"); got != fmt.Sprint(count) {
			t.Fatalf("after a dump that was interrupted after %s the site counts %s instead of %d", after, got, count)
		}
		e.noImages()
	}
	t.Logf("%d of %d dumps were interrupted", interrupted, count)
	// And it can still be checkpointed.
	e.park(c, e.checkpointDir(), options())
	ns = replicaNS(t)
	e.restore(e.counterSpec(ns), e.checkpointDir())
	if got := get(t, ns, "/count"); got != fmt.Sprint(count+1) {
		t.Errorf("the restored site counts %s instead of %d", got, count+1)
	}
}

// TestRootDaemonKilledWhileDumping: the next daemon ends the dump, adopts the site and
// finds it unharmed.
func TestRootDaemonKilledWhileDumping(t *testing.T) {
	e := newEnv(t)
	needCRIU(t, e.m)
	ns := replicaNS(t)
	for i, after := range []time.Duration{0, 5 * time.Millisecond, 20 * time.Millisecond, 60 * time.Millisecond} {
		spec := e.counterSpec(ns)
		spec.ReadOnlyRoot = true // which is writable during the dump
		job := daemonJob{Do: doCheckpoint, Spec: spec, Dir: e.checkpointDir(), Checkpoint: options()}
		daemon, out := e.daemonWith(job, 0)
		testutil.WaitLine(t, limit, out, "dumping")
		<-time.After(after) // the instant is what is tested
		e.kill(daemon)
		found := e.adopt()
		if len(found) != 1 {
			t.Fatalf("adopted %d containers", len(found))
		}
		c := found[0]
		if err := c.Group().Thaw(testutil.Context(t, limit)); err != nil {
			t.Fatal(err)
		}
		if got := get(t, ns, "/count"); got != "1" {
			t.Fatalf("killed %s after the dump began: the site counts %s", after, got)
		}
		if _, out := e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "write", "/new", "x"}}, ""); !strings.Contains(out, "read-only") {
			t.Errorf("killed %s after the dump began: writing to the root: %q", after, out)
		}
		if _, err := os.Lstat(c.dumpFile()); err == nil {
			t.Errorf("%d: the record of the dump is left", i)
		}
		e.sweep()
		if err := criu.Remove(e.checkpointDir()); err != nil {
			t.Fatal(err)
		}
		e.noImages()
		e.remove(c)
	}
}

// TestRootDaemonKilledWhileRestoring: the site comes to life under its monitor and is
// adopted, or nothing is left of it; either way the image is not used again.
func TestRootDaemonKilledWhileRestoring(t *testing.T) {
	e := newEnv(t)
	for _, after := range []time.Duration{0, 5 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond, 150 * time.Millisecond} {
		needCRIU(t, e.m)
		ns := replicaNS(t)
		spec := e.counterSpec(ns)
		c := e.start(spec)
		e.saw(spec, "listening")
		e.park(c, e.checkpointDir(), options())

		next := e.counterSpec(ns)
		daemon, out := e.daemonWith(daemonJob{Do: doRestore, Spec: next, Dir: e.checkpointDir()}, 0)
		testutil.WaitLine(t, limit, out, "calling")
		<-time.After(after) // the instant is what is tested
		e.kill(daemon)
		found := e.adopt()
		e.sweep()
		_, kept := os.Lstat(e.checkpointDir())
		switch {
		case len(found) == 1 && kept != nil:
			if got := get(t, ns, "/count"); got != "1" {
				t.Errorf("the adopted site counts %s", got)
			}
			e.saw(next, "count 1")
			e.remove(found[0])
		case len(found) == 0:
			t.Logf("killed %s after the call: nothing was restored", after)
		default:
			t.Errorf("killed %s after the call: adopted are %d containers, and the image: %v", after, len(found), kept)
		}
		e.gone(0)
		if err := errors.Join(criu.Remove(e.checkpointDir()), os.RemoveAll(next.Upper), os.RemoveAll(next.Work)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRootServerOfMemoryKilled: a container whose memory cannot come any more
// is ended. It never sees zeroes instead.
func TestRootServerOfMemoryKilled(t *testing.T) {
	e := newEnv(t)
	if !needCRIU(t, e.m).Lazy {
		t.Skipf("%s userfaultfd, which CRIU restores memory on demand with", testutil.SkipMarker)
	}
	ns := replicaNS(t)
	spec := e.counterSpec(ns, "256")
	c := e.start(spec)
	e.saw(spec, "listening")
	e.park(c, e.checkpointDir(), options())
	r := e.restore(e.counterSpec(replicaNS(t)), e.checkpointDir())
	server := childNamed(r.state.Shim.Pid, "lazy-pages")
	if server == 0 {
		t.Log("all memory had arrived at once") // on a machine that is quick; nothing is left to test
		e.adopt()
		e.gone(1)
		return
	}
	if err := unix.Kill(server, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if exit := e.ended(r); exit.Signal != "SIGKILL" {
		t.Errorf("it ended with %+v", exit)
	}
	e.noImages()
}

// sweep is what the next daemon does with what is left of checkpoints, and gives how many
// somebody still needs.
func (e *env) sweep() int {
	e.t.Helper()
	held, err := criu.Sweep(filepath.Dir(e.checkpointDir()))
	if err != nil {
		e.t.Fatal(err)
	}
	return held
}

// TestRootMemoryServedWithoutItsDaemon: the daemon is killed while memory of a site it
// restores is missing. The next one leaves the image to the process that reads it, and the site
// gets all of its memory; then the image goes.
func TestRootMemoryServedWithoutItsDaemon(t *testing.T) {
	e := newEnv(t)
	if !needCRIU(t, e.m).Lazy {
		t.Skipf("%s userfaultfd, which CRIU restores memory on demand with", testutil.SkipMarker)
	}
	ns := replicaNS(t)
	spec := e.counterSpec(ns, "128")
	c := e.start(spec)
	e.saw(spec, "listening")
	want := get(t, ns, "/heap")
	e.park(c, e.checkpointDir(), options())
	ns = replicaNS(t)
	next := e.counterSpec(ns)
	daemon, out := e.daemonWith(daemonJob{Do: doRestore, Spec: next, Dir: e.checkpointDir()}, 1)
	testutil.WaitLine(t, limit, out, "calling")
	server := e.stopServer(next)
	e.kill(daemon)
	if server == 0 {
		t.Log("all memory had arrived at once") // on a machine that is quick; nothing is left to test
		e.adopt()
		e.gone(1)
		return
	}
	if held := e.sweep(); held != 1 {
		t.Errorf("somebody needs %d images, and memory is served from one", held)
	}
	if err := unix.Kill(server, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	found := e.adopt()
	if len(found) != 1 {
		t.Fatalf("adopted %d containers", len(found))
	}
	if got := get(t, ns, "/heap"); got != want {
		t.Errorf("the heap's sum is %s instead of %s", got, want)
	}
	e.noImages()
	e.gone(1)
}

// stopServer stops the process that serves memory to a container that is being restored,
// as soon as there is one; 0 if it had nothing left to do by then.
func (e *env) stopServer(spec Spec) (server int) {
	e.t.Helper()
	testutil.WaitFor(e.t, limit, "the server of memory", func() error {
		var state wire.State
		if err := wire.ReadFile(e.m.dir(spec.ID), wire.StateFile, &state); err != nil {
			return err
		}
		if server = childNamed(state.Shim.Pid, "lazy-pages"); server != 0 {
			return unix.Kill(server, unix.SIGSTOP)
		}
		_, restored := os.Lstat(filepath.Join(e.m.dir(spec.ID), wire.InitFile))
		if _, missing := os.Lstat(filepath.Join(e.m.dir(spec.ID), wire.LazyFile)); restored == nil && os.IsNotExist(missing) {
			return nil
		}
		return errors.New("it does not run")
	})
	return server
}

// childNamed finds a child by a word of its command line; 0 if there is none.
func childNamed(parent int, word string) int {
	for _, pid := range childrenOf(parent) {
		if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && strings.Contains(string(line), word) {
			return pid
		}
	}
	return 0
}

// TestRootRestoreCancelled: nothing is left of a restore that nobody waits for.
func TestRootRestoreCancelled(t *testing.T) {
	e := newEnv(t)
	_, dir := e.template("8")
	for _, after := range []time.Duration{0, 10 * time.Millisecond, 30 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(testutil.Context(t, limit), after)
		spec := e.counterSpec(replicaNS(t))
		c, _, err := e.m.Restore(ctx, spec, dir)
		cancel()
		if err == nil {
			e.remove(c)
			continue
		}
		for _, path := range []string{spec.Upper, spec.Work, e.m.dir(spec.ID)} {
			if _, err := os.Lstat(path); !os.IsNotExist(err) {
				t.Errorf("cancelled after %s: %s is left: %v", after, path, err)
			}
		}
	}
	ns := replicaNS(t)
	e.restore(e.counterSpec(ns), dir)
	if got := get(t, ns, "/count"); got != "4" {
		t.Errorf("it counts %s instead of 4", got)
	}
}

// TestRootDumpFails: a process that somebody executes in the container would
// not be in the image. What cannot be dumped is said, and lives on.
func TestRootDumpFails(t *testing.T) {
	e := newEnv(t)
	needCRIU(t, e.m)
	ns := replicaNS(t)
	spec := e.counterSpec(ns)
	c := e.start(spec)
	e.saw(spec, "listening")
	ctx := testutil.Context(t, limit)
	p, err := c.Exec(ctx, ExecSpec{Args: []string{"/bin/guest", "wait"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	if _, err = c.Checkpoint(ctx, e.checkpointDir(), options()); !errors.Is(err, criu.ErrDump) || !strings.Contains(err.Error(), "processes were executed") {
		t.Errorf("the dump gave %v", err)
	}
	if findings, err := c.Preflight(); err != nil || len(findings) == 0 {
		t.Errorf("it is not found beforehand: %v, %v", findings, err)
	}
	if err := c.Group().Thaw(ctx); err != nil {
		t.Fatal(err)
	}
	if got := get(t, ns, "/count"); got != "1" {
		t.Errorf("after it the site counts %s", got)
	}
	e.noImages()
}

// TestRootCheckpointAfterAdoption: a daemon checkpoints what its predecessor has
// started, and the one after it adopts what it has restored.
func TestRootCheckpointAfterAdoption(t *testing.T) {
	e := newEnv(t)
	needCRIU(t, e.m)
	ns := replicaNS(t)
	spec := e.counterSpec(ns)
	daemon, out := e.daemon(spec, 0)
	testutil.WaitLine(t, limit, out, "started")
	e.kill(daemon)
	found := e.adopt()
	if len(found) != 1 {
		t.Fatalf("adopted %d containers", len(found))
	}
	e.saw(spec, "listening")
	e.park(found[0], e.checkpointDir(), options())
	next := e.counterSpec(ns)
	daemon, out = e.daemonWith(daemonJob{Do: doRestore, Spec: next, Dir: e.checkpointDir()}, 1)
	testutil.WaitLine(t, limit, out, "restored")
	e.kill(daemon)
	if found = e.adopt(); len(found) != 1 {
		t.Fatalf("adopted %d containers", len(found))
	}
	c := found[0]
	if got := get(t, ns, "/count"); got != "1" {
		t.Errorf("it counts %s", got)
	}
	e.saw(next, "count 1")
	if code, text := e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "echo", "hello"}}, ""); code != 0 || text != "hello\n" {
		t.Errorf("executing something: code %d, %q", code, text)
	}
	if err := c.Stop(testutil.Context(t, limit), limit); err != nil {
		t.Fatal(err)
	}
	if exit := e.ended(c); exit.Code != 7 {
		t.Errorf("it ended with %+v", exit)
	}
	var record wire.Process
	if err := wire.ReadFile(e.m.dir(c.ID()), wire.InitFile, &record); err != nil || record != c.init {
		t.Errorf("the record of init is %+v, %v", record, err)
	}
}
