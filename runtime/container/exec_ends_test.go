package container

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/cgroup/cgroupfd"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/tests/testutil"
	"golang.org/x/sys/unix"
)

func lines(r io.Reader) *bufio.Reader { return bufio.NewReader(r) }

// noExecs makes sure that nothing of an exec is left: no process, no cgroup, no file.
func (e *env) noExecs(c *Container) {
	e.t.Helper()
	groups, err := cgroupfd.Below(c.group.Path())
	if err != nil || len(groups) > 0 {
		e.t.Errorf("cgroups of execs are left: %v %v", groups, err)
	}
	if _, ended := c.Exit(); !ended {
		pids, err := c.group.Procs()
		if err != nil || len(pids) != 1 || pids[0] != c.Pid() {
			e.t.Errorf("processes %v (%v) are in the replica's cgroup, want init, %d, alone", pids, err, c.Pid())
		}
	}
	files, err := filepath.Glob(filepath.Join(e.m.dir(c.ID()), "exec-*"))
	if err != nil || len(files) > 0 {
		e.t.Errorf("files of execs are left: %v %v", files, err)
	}
}

// TestRootExecEndsAll: what an exec has started ends with it, however that ends,
// also what has left its session and its parents.
func TestRootExecEndsAll(t *testing.T) {
	for name, end := range map[string]func(e *env, c *Container, p *ExecProcess){
		"command": func(e *env, _ *Container, p *ExecProcess) {
			if err := p.Signal(unix.SIGTERM); err != nil {
				e.t.Fatal(err)
			}
			if code, err := p.Wait(testutil.Context(e.t, limit)); code != 3 || err != nil {
				e.t.Errorf("code %d, %v", code, err)
			}
		},
		"caller": func(e *env, _ *Container, p *ExecProcess) {
			if err := p.Close(); err != nil {
				e.t.Error(err)
			}
		},
		"runner": func(e *env, _ *Container, p *ExecProcess) {
			if err := p.cmd.Process.Kill(); err != nil {
				e.t.Fatal(err)
			}
			if code, err := p.Wait(testutil.Context(e.t, limit)); err == nil {
				e.t.Errorf("code %d of an exec whose runner was killed", code)
			}
			if err := p.Close(); err != nil {
				e.t.Error(err)
			}
		},
		"frozen": func(e *env, c *Container, p *ExecProcess) {
			ctx := testutil.Context(e.t, limit)
			if err := c.group.Freeze(ctx); err != nil {
				e.t.Fatal(err)
			}
			if events := read(e.t.(*testing.T), filepath.Join(p.group, "cgroup.events")); !strings.Contains(events, "frozen 1") {
				e.t.Errorf("its cgroup is not frozen with the replica's: %q", events)
			}
			if err := errors.Join(p.Close(), c.group.Thaw(ctx)); err != nil {
				e.t.Error(err)
			}
		},
		"container": func(e *env, c *Container, p *ExecProcess) {
			if err := c.Kill(testutil.Context(e.t, limit)); err != nil {
				e.t.Error(err)
			}
			if err := p.Close(); err != nil {
				e.t.Error(err)
			}
			if _, err := os.Stat(c.group.Path()); !errors.Is(err, os.ErrNotExist) {
				e.t.Errorf("the replica's cgroup: %v", err)
			}
		},
	} {
		for _, tty := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, tty %v", name, tty), func(t *testing.T) {
				e := newEnv(t)
				c := containers["started"](e)
				p, err := c.Exec(testutil.Context(t, limit), ExecSpec{Args: []string{"/bin/guest", "leave"}, TTY: tty, Cols: 80, Rows: 24})
				if err != nil {
					t.Fatal(err)
				}
				defer p.Close()
				files := e.execReads(p, "staying")
				end(e, c, p)
				e.noExecs(c)
				// Nobody reads what is typed from now on.
				_, _ = files[0].WriteString("secret\n")
				if b, err := os.ReadFile(filepath.Join(c.state.Upper, "stolen")); len(b) > 0 {
					t.Errorf("it has read %q %v", b, err)
				}
			})
		}
	}
}

// TestRootExecDaemonKilled: an exec ends with its daemon, by its runner; should
// that be killed, too, the next daemon ends it.
func TestRootExecDaemonKilled(t *testing.T) {
	for _, runnerToo := range []bool{false, true} {
		t.Run(fmt.Sprintf("runner too %v", runnerToo), func(t *testing.T) {
			e := newEnv(t)
			spec := e.spec("wait")
			cmd, out := e.daemonDoing(doExec, spec, 0)
			var pid int
			line, err := out.ReadString('\n')
			for err == nil && !strings.HasPrefix(line, "executing") {
				line, err = out.ReadString('\n')
			}
			if _, err := fmt.Sscanf(line, "executing %d", &pid); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			runner, err := wire.FindProcess(pid)
			if err != nil {
				t.Fatal(err)
			}
			if runnerToo { // before it learns that the daemon is gone
				if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
					t.Fatal(err)
				}
			}
			e.kill(cmd)
			if runnerToo {
				if err := unix.Kill(pid, unix.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
			testutil.WaitFor(t, limit, "the runner's end", func() error {
				if alive(runner) {
					return errors.New("it is alive")
				}
				return nil
			})
			group := e.m.Parent().Path()
			left, err := filepath.Glob(filepath.Join(group, "*", "exec-*"))
			if err != nil || runnerToo != (len(left) > 0) {
				t.Errorf("cgroups of execs: %v %v", left, err)
			}
			e.noExecs(e.adopt()[0])
		})
	}
}

// TestRootExecStreamsAreKept: a program in the container that has opened the
// streams of an exec gets nothing by that: the exec ends, and what is written
// then reaches nobody who waits for it.
func TestRootExecStreamsAreKept(t *testing.T) {
	e := newEnv(t)
	spec := e.spec("keep")
	c := e.start(spec)
	p, err := c.Exec(testutil.Context(t, limit), ExecSpec{Args: []string{"/bin/guest", "copy"}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	files := p.Files()
	e.saw(spec, "kept")
	files[0].Close()
	if err := p.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if code, err := p.Wait(testutil.Context(t, limit)); code != 137 || err != nil {
		t.Errorf("code %d, %v", code, err)
	}
	e.noExecs(c)
	for _, f := range files[1:] {
		f.Close()
	}
}

// TestRootExecStalled: a process that neither reads nor writes, or is not read,
// keeps nobody from ending it.
func TestRootExecStalled(t *testing.T) {
	e := newEnv(t)
	c := containers["started"](e)
	for _, args := range [][]string{{"sleep"}, {"print", "100000", "1000"}} {
		p, err := c.Exec(testutil.Context(t, limit), ExecSpec{Args: append([]string{"/bin/guest"}, args...)})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Signal(unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if code, err := p.Wait(testutil.Context(t, limit)); code != 137 || err != nil {
			t.Errorf("%v: code %d, %v", args, code, err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	e.noExecs(c)
}

// TestRootExecOutput: nothing of it is lost.
func TestRootExecOutput(t *testing.T) {
	e := newEnv(t)
	c := containers["started"](e)
	code, out := e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "print", "4000", "1000"}}, "")
	if got := strings.Count(out, "\n"); code != 0 || got != 4000 || len(out) < 4000*1000 {
		t.Errorf("code %d, %d lines, %d bytes", code, got, len(out))
	}
}

// TestRootExecPries: the streams of an exec lead nowhere, and it sees no process
// that is not the container's.
func TestRootExecPries(t *testing.T) {
	e := newEnv(t)
	c := containers["started"](e)
	_, out := e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "pry"}}, "")
	for line := range strings.Lines(out) {
		switch line = strings.TrimSpace(line); {
		case line == "pried", line == "process guest", strings.HasPrefix(line, "stream") && strings.HasSuffix(line, "pipe <nil>"):
		default:
			t.Errorf("it says %q", line)
		}
	}
	if !strings.Contains(out, "pried") {
		t.Errorf("output %q", out)
	}
	p, err := c.Exec(testutil.Context(t, limit), ExecSpec{Args: []string{"/bin/guest", "pry"}, TTY: true, Cols: 80, Rows: 24})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	e.execReads(p, "pried")
}
