package container

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/tests/testutil"
	"golang.org/x/sys/unix"
)

// envDaemon makes the test binary a daemon: it does with one container what its
// standard input says, prints "calling" before and "started" after, and waits
// to be killed.
const envDaemon = "FCNODE_CONTAINER_TEST_DAEMON"

// What the daemon does.
const (
	doStart   = "start"
	doPrepare = "prepare" // prints "prepared"
	doOpen    = "open"    // the same, and opens it at once
	doExec    = "exec"    // starts, executes what stays, and prints "executing" and the runner's number

	doCheckpoint = "checkpoint" // starts, prints "dumping", and checkpoints
	doRestore    = "restore"    // prints "restored"
)

// daemonJob is what the daemon reads. Its descriptor 3 is the network namespace.
type daemonJob struct {
	Do      string
	Options Options
	Spec    Spec

	Dir        string // of the checkpoint
	Checkpoint CheckpointOptions
}

func daemonMain() int {
	var job daemonJob
	if err := json.NewDecoder(os.Stdin).Decode(&job); err != nil {
		fmt.Println(err)
		return 1
	}
	job.Options.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	job.Spec.Netns = os.NewFile(3, "netns")
	m, err := NewManager(job.Options)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("calling")
	ctx := context.Background()
	if job.Do == doStart {
		_, _, err = m.Start(ctx, job.Spec)
		fmt.Println("started", err)
		select {}
	}
	if job.Do == doExec {
		executing(ctx, m, job)
	}
	if job.Do == doCheckpoint || job.Do == doRestore {
		sleepy(ctx, m, job)
	}
	p, _, err := m.Prepare(ctx, job.Spec)
	fmt.Println("prepared", err)
	if err == nil && job.Do == doOpen {
		_, _, err = p.Open(ctx)
		fmt.Println("started", err)
	}
	select {}
}

// executing does what a daemon does with an exec, and does not return.
func executing(ctx context.Context, m *Manager, job daemonJob) {
	c, _, err := m.Start(ctx, job.Spec)
	var p *ExecProcess
	if err == nil {
		p, err = c.Exec(ctx, ExecSpec{Args: []string{"/bin/guest", "leave"}})
	}
	if err == nil {
		_, err = bufio.NewReader(p.Files()[1]).ReadString('\n')
	}
	if err != nil {
		fmt.Println(err)
	} else {
		fmt.Println("executing", p.cmd.Process.Pid)
	}
	select {}
}

// sleepy does what a daemon does with sleeping sites, and does not return.
func sleepy(ctx context.Context, m *Manager, job daemonJob) {
	if job.Do == doRestore {
		_, _, err := m.Restore(ctx, job.Spec, job.Dir)
		fmt.Println("restored", err)
		select {}
	}
	c, _, err := m.Start(ctx, job.Spec)
	for err == nil {
		b, readErr := os.ReadFile(filepath.Join(job.Spec.LogDir, "output.log"))
		if readErr == nil && strings.Contains(string(b), "listening") {
			break
		}
	}
	fmt.Println("dumping", err)
	if err == nil {
		_, err = c.Checkpoint(ctx, job.Dir, job.Checkpoint)
	}
	fmt.Println("dumped", err)
	select {}
}

// daemon starts such a process, which starts a container.
func (e *env) daemon(spec Spec, ahead int) (*exec.Cmd, *bufio.Reader) {
	e.t.Helper()
	return e.daemonDoing(doStart, spec, ahead)
}

// daemonDoing starts such a process and gives what it prints.
func (e *env) daemonDoing(do string, spec Spec, ahead int) (*exec.Cmd, *bufio.Reader) {
	e.t.Helper()
	return e.daemonWith(daemonJob{Do: do, Spec: spec}, ahead)
}

func (e *env) daemonWith(job daemonJob, ahead int) (*exec.Cmd, *bufio.Reader) {
	e.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		e.t.Fatal(err)
	}
	opts := e.m.opts
	opts.Log, opts.Ahead = nil, ahead
	netns := job.Spec.Netns
	job.Spec.Netns, job.Options = nil, opts
	text, err := json.Marshal(job)
	if err != nil {
		e.t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), envDaemon+"=1")
	cmd.ExtraFiles = []*os.File{netns}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		e.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		e.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	if _, err := in.Write(text); err != nil {
		e.t.Fatal(err)
	}
	return cmd, bufio.NewReader(out)
}

// kill kills the daemon as nothing else does, and collects it.
func (e *env) kill(cmd *exec.Cmd) {
	e.t.Helper()
	if err := cmd.Process.Signal(unix.SIGKILL); err != nil {
		e.t.Fatal(err)
	}
	_ = cmd.Wait() // killed
}

// adopt is what the next daemon does.
func (e *env) adopt() []*Container {
	e.t.Helper()
	found, bad, err := e.m.Adopt(testutil.Context(e.t, limit))
	if err != nil || len(bad) > 0 {
		e.t.Fatal(bad, err)
	}
	for _, c := range found {
		e.t.Cleanup(func() { e.remove(c) })
	}
	return found
}

// gone waits until the cgroups of a dead daemon are gone, but for those of live
// containers and this Manager's.
func (e *env) gone(containers int) {
	e.t.Helper()
	testutil.WaitFor(e.t, limit, "the waiting runners of the dead daemon to end", func() error {
		if bad := e.m.sweep(); len(bad) > 0 {
			return bad[0].Why
		}
		names, err := e.m.parent.Names()
		names = slices.DeleteFunc(names, func(name string) bool { return strings.HasPrefix(name, e.m.prefix) })
		if err == nil && len(names) > containers {
			err = fmt.Errorf("cgroups %v", names)
		}
		return err
	})
}

func TestRootAdopt(t *testing.T) {
	e := newEnv(t)
	spec := e.spec("wait")
	spec.Meta = map[string]string{"slot": "7"}
	cmd, out := e.daemon(spec, 2)
	testutil.WaitLine(t, limit, out, "started <nil>")
	e.saw(spec, "waiting")
	e.kill(cmd)

	found := e.adopt()
	if len(found) != 1 {
		t.Fatalf("adopted %d containers, want 1", len(found))
	}
	c := found[0]
	if c.ID() != spec.ID || c.Site() != spec.Site || c.Meta()["slot"] != "7" || !alive(c.init) {
		t.Errorf("adopted %+v", c.state)
	}
	if _, ended := c.Exit(); ended {
		t.Error("it counts as ended")
	}
	if code, text := e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "echo", "still here"}}, ""); code != 0 || text != "still here\n" {
		t.Errorf("exec in an adopted container: %d %q", code, text)
	}
	if _, _, err := e.m.Start(testutil.Context(t, limit), spec); !errors.Is(err, ErrExists) {
		t.Errorf("starting it again: %v", err)
	}
	e.gone(1)
	if err := c.Stop(testutil.Context(t, limit), limit); err != nil {
		t.Fatal(err)
	}
	if exit, _ := c.Exit(); exit.Code != 7 {
		t.Errorf("exit %+v, want code 7: its output and end were not watched", exit)
	}
}

// TestRootAdoptEnded: what has ended while there was no daemon is told.
func TestRootAdoptEnded(t *testing.T) {
	e := newEnv(t)
	spec := e.spec("wait")
	cmd, out := e.daemon(spec, 0)
	testutil.WaitLine(t, limit, out, "started <nil>")
	e.saw(spec, "waiting")
	var init wire.Process
	if err := wire.ReadFile(e.m.dir(spec.ID), wire.InitFile, &init); err != nil {
		t.Fatal(err)
	}
	e.kill(cmd)
	if err := unix.Kill(init.Pid, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	testutil.WaitFor(t, limit, "exit.json", func() error {
		_, err := os.Stat(filepath.Join(e.m.dir(spec.ID), wire.ExitFile))
		return err
	})
	found := e.adopt()
	if len(found) != 1 {
		t.Fatalf("adopted %d containers, want 1", len(found))
	}
	if exit := e.ended(found[0]); exit.Code != 7 || exit.MonitorLost {
		t.Errorf("exit %+v, want code 7", exit)
	}
}

// TestRootAdoptLost: daemon and monitor are both killed.
func TestRootAdoptLost(t *testing.T) {
	e := newEnv(t)
	spec := e.spec("wait")
	cmd, out := e.daemon(spec, 0)
	testutil.WaitLine(t, limit, out, "started <nil>")
	e.saw(spec, "waiting")
	var state wire.State
	if err := wire.ReadFile(e.m.dir(spec.ID), wire.StateFile, &state); err != nil {
		t.Fatal(err)
	}
	e.kill(cmd)
	if err := unix.Kill(state.Shim.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	found := e.adopt()
	if len(found) != 1 {
		t.Fatalf("adopted %d containers, want 1", len(found))
	}
	if exit := e.ended(found[0]); !exit.MonitorLost {
		t.Errorf("exit %+v, want MonitorLost", exit)
	}
	if alive(found[0].init) {
		t.Error("the container's init is alive")
	}
}

// TestRootAdoptMidStart kills the daemon at many instants of a start. Whatever
// the instant: the next daemon has the container running, or nothing of it.
func TestRootAdoptMidStart(t *testing.T) {
	const instants = 24
	e := newEnv(t)
	whole := e.wholeStart()
	running, nothing := 0, 0
	for i := range instants {
		spec := e.spec("wait")
		cmd, out := e.daemon(spec, i%2) // with and without a runner that waits
		testutil.WaitLine(t, limit, out, "calling")
		if i == instants-1 {
			testutil.WaitLine(t, limit, out, "started <nil>") // the last instant is after the start, however slow the machine
		} else {
			// A pause is what is tested here: some part of a start.
			timer := time.NewTimer(whole * time.Duration(i) / (instants - 4))
			<-timer.C
		}
		e.kill(cmd)
		found := e.adopt()
		switch len(found) {
		case 0:
			nothing++
			for _, dir := range []string{e.m.dir(spec.ID), spec.Upper} {
				if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("at instant %d: nothing runs, but there is %s (%v)", i, dir, err)
				}
			}
		case 1:
			running++
			c := found[0]
			if exit, ended := c.Exit(); ended {
				t.Errorf("at instant %d: it has ended: %+v", i, exit)
			}
			e.saw(spec, "waiting")
			e.remove(c)
		default:
			t.Fatalf("adopted %d containers", len(found))
		}
		e.gone(0)
	}
	t.Logf("a start took %s; %d ran on, of %d nothing was left", whole, running, nothing)
	if running == 0 {
		t.Error("a container whose start was over did not run on")
	}
}

// wholeStart is how long a start takes here and now.
func (e *env) wholeStart() time.Duration {
	e.t.Helper()
	spec := e.spec("wait")
	cmd, out := e.daemon(spec, 0)
	testutil.WaitLine(e.t, limit, out, "calling")
	begin := time.Now()
	testutil.WaitLine(e.t, limit, out, "started <nil>")
	took := time.Since(begin)
	e.kill(cmd)
	for _, c := range e.adopt() {
		e.remove(c)
	}
	e.gone(0)
	return took
}

// TestRootDaemonOutput: a container does not keep the standard streams of the
// daemon, so that what waits for their end does not wait for it.
func TestRootDaemonOutput(t *testing.T) {
	e := newEnv(t)
	spec := e.spec("wait")
	cmd, out := e.daemon(spec, 1)
	testutil.WaitLine(t, limit, out, "started <nil>")
	if err := cmd.Process.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eof := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, out)
		eof <- err
	}()
	if err := testutil.Receive(t, limit, "the end of the daemon's output", eof); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // killed
	e.adopt()
	e.gone(1)
}
