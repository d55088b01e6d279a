package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/tests/testutil"
	"golang.org/x/sys/unix"
)

// prepare prepares a container that is discarded with the test.
func (e *env) prepare(spec Spec) *Prepared {
	e.t.Helper()
	p, _, err := e.m.Prepare(testutil.Context(e.t, limit), spec)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		if err := p.Discard(); err != nil {
			e.t.Error(err)
		}
	})
	return p
}

func (e *env) open(p *Prepared) *Container {
	e.t.Helper()
	c, _, err := p.Open(testutil.Context(e.t, limit))
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { e.remove(c) })
	return c
}

// TestRootPreparedOpen: nothing runs before the gate is opened; what then runs
// is a container as any other.
func TestRootPreparedOpen(t *testing.T) {
	e := newEnv(t)
	spec := e.spec("wait")
	spec.Meta = map[string]string{"slot": "3"}
	p, timing, err := e.m.Prepare(testutil.Context(t, limit), spec)
	if err != nil {
		t.Fatal(err)
	}
	logSteps(t, timing)
	t.Logf("it holds %.1f MiB", float64(p.Memory())/(1<<20))
	if p.ID() != spec.ID || p.Memory() == 0 {
		t.Errorf("prepared %s with %d bytes", p.ID(), p.Memory())
	}
	if _, err := os.Stat(filepath.Join(e.m.dir(spec.ID), wire.InitFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an init is recorded before there is a request to run it: %v", err)
	}
	if out := e.output(spec); out != "" {
		t.Errorf("it has written %q", out)
	}
	if _, _, err := e.m.Start(testutil.Context(t, limit), spec); !errors.Is(err, ErrExists) {
		t.Errorf("starting another of its name: %v, want ErrExists", err)
	}
	opened := time.Now().Truncate(0) // as it is written down
	c, timing, err := p.Open(testutil.Context(t, limit))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.remove(c) })
	logSteps(t, timing)
	e.saw(spec, "waiting")
	if c.Meta()["slot"] != "3" || c.Created().Before(opened) {
		t.Errorf("opened %+v", c.state)
	}
	if _, _, err := p.Open(testutil.Context(t, limit)); !errors.Is(err, ErrNotRunning) {
		t.Errorf("opening again: %v, want ErrNotRunning", err)
	}
	if err := p.Discard(); err != nil || !alive(c.init) {
		t.Errorf("discarding what runs: %v", err)
	}
	if code, text := e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "echo", "inside"}}, ""); code != 0 || text != "inside\n" {
		t.Errorf("exec in it: %d %q", code, text)
	}
	if err := c.Stop(testutil.Context(t, limit), limit); err != nil {
		t.Fatal(err)
	}
	if exit, _ := c.Exit(); exit.Code != 7 {
		t.Errorf("exit %+v, want code 7", exit)
	}
	testutil.WaitClosed(t, limit, "Gone of what has ended", p.Gone())
}

func logSteps(t testing.TB, timing Timing) {
	t.Helper()
	for _, s := range timing.Steps {
		t.Logf("%-16s %8.3f ms", s.Name, ms(s.After))
	}
}

// TestRootPreparedSealed: the filter, the user and no_new_privs are those of
// any container.
func TestRootPreparedSealed(t *testing.T) {
	e := newEnv(t)
	direct, prepared := e.spec("status"), e.spec("status")
	_, want := e.run(direct)
	p := e.prepare(prepared)
	pids, err := p.Group().Procs()
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids { // what waits is not to be made huge
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil || !strings.Contains(string(b), "THP_enabled:\t0") {
			t.Errorf("process %d may have huge pages (%v)", pid, err)
		}
	}
	e.ended(e.open(p))
	got := e.output(prepared)
	if !strings.Contains(got, "Seccomp:\t2") || !strings.Contains(got, "NoNewPrivs:\t1") || got != want {
		t.Errorf("prepared:\n%s\nstarted:\n%s", got, want)
	}
	own, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	const huge = "THP_enabled:\t1"
	if strings.Contains(got, huge) != strings.Contains(string(own), huge) {
		t.Errorf("huge pages are not allowed as to others:\n%s", got)
	}
}

func TestRootPreparedFails(t *testing.T) {
	e := newEnv(t)
	spec := e.spec("wait")
	spec.Args = []string{"/bin/nothing"}
	if _, _, err := e.m.Prepare(testutil.Context(t, limit), spec); !errors.Is(err, ErrExec) {
		t.Errorf("preparing what cannot be executed: %v, want ErrExec", err)
	}
	spec = e.spec("wait")
	spec.ID = ""
	if _, _, err := e.m.Prepare(testutil.Context(t, limit), spec); !errors.Is(err, ErrSpec) {
		t.Errorf("preparing nonsense: %v, want ErrSpec", err)
	}
	ctx, cancel := context.WithCancel(testutil.Context(t, limit))
	cancel()
	spec = e.spec("wait")
	if _, _, err := e.m.Prepare(ctx, spec); !errors.Is(err, context.Canceled) {
		t.Errorf("preparing without time: %v, want Canceled", err)
	}
	e.nothingLeft()
	e.prepare(spec) // the name is free
}

// nothingLeft checks that there are no folders of containers, and no cgroups but
// those of waiting runners.
func (e *env) nothingLeft() {
	e.t.Helper()
	for _, pattern := range []string{filepath.Join(e.runDir, "replicas/*"), filepath.Join(e.dir, "replicas/*")} {
		if left, _ := filepath.Glob(pattern); len(left) > 0 {
			e.t.Errorf("left behind: %v", left)
		}
	}
	e.gone(0)
}

func TestRootPreparedDiscard(t *testing.T) {
	e := newEnv(t)
	p := e.prepare(e.spec("wait"))
	pids, err := p.Group().Procs()
	if err != nil || len(pids) != 2 {
		t.Errorf("processes %v %v, want a runner and an init", pids, err)
	}
	if err := p.Discard(); err != nil {
		t.Fatal(err)
	}
	testutil.WaitClosed(t, limit, "Gone of what was discarded", p.Gone())
	for _, pid := range pids {
		if left, err := wire.FindProcess(pid); err == nil && alive(left) {
			t.Errorf("process %d is alive", pid)
		}
	}
	e.nothingLeft()
	if _, _, err := p.Open(testutil.Context(t, limit)); !errors.Is(err, ErrNotRunning) {
		t.Errorf("opening what was discarded: %v, want ErrNotRunning", err)
	}
}

// TestRootPreparedDies: whichever of its processes is killed, the rest goes too,
// Gone says so, and the name is free.
func TestRootPreparedDies(t *testing.T) {
	e := newEnv(t)
	for name, victim := range map[string]func(p *Prepared) int{
		"init": func(p *Prepared) int { return p.made.init.Pid },
		"runner": func(p *Prepared) int {
			pids, err := p.Group().Procs()
			if err != nil {
				t.Fatal(err)
			}
			pids = slices.DeleteFunc(pids, func(pid int) bool { return pid == p.made.init.Pid })
			return pids[0]
		},
		"shim": func(p *Prepared) int { return p.made.state.Shim.Pid },
	} {
		t.Run(name, func(t *testing.T) {
			p := e.prepare(e.spec("wait"))
			if err := unix.Kill(victim(p), unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			testutil.WaitClosed(t, limit, "Gone", p.Gone())
			if alive(p.made.init.Process) || alive(p.made.state.Shim) {
				t.Error("something of it is alive")
			}
			if _, _, err := p.Open(testutil.Context(t, limit)); !errors.Is(err, ErrNotRunning) {
				t.Errorf("opening it: %v, want ErrNotRunning", err)
			}
			e.nothingLeft()
		})
	}
	spec := e.spec("wait")
	spec.ID = "site-1" // the name of the first of them is free
	e.start(spec)
}

// TestRootPreparedOpenedAsItDies: who opens what has just died hears of it when all of it is gone, so that its name can be used at once.
func TestRootPreparedOpenedAsItDies(t *testing.T) {
	e := newEnv(t)
	spec := e.spec("wait")
	for range 5 {
		p, _, err := e.m.Prepare(testutil.Context(t, limit), spec)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Kill(p.made.state.Shim.Pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		testutil.WaitFor(t, limit, "somebody to see that it has died", func() error {
			p.mu.Lock()
			defer p.mu.Unlock()
			if !p.taken {
				return errors.New("nobody has")
			}
			return nil
		})
		if _, _, err := p.Open(testutil.Context(t, limit)); !errors.Is(err, ErrNotRunning) {
			t.Errorf("opening it: %v, want ErrNotRunning", err)
		}
		if left, err := os.Stat(e.m.dir(spec.ID)); err == nil {
			t.Errorf("%s is left", left.Name())
		}
	}
	e.start(spec)
}

// TestRootPreparedInitDiesInOpen: the gate opens for nobody.
func TestRootPreparedInitDiesInOpen(t *testing.T) {
	e := newEnv(t)
	p := e.prepare(e.spec("wait"))
	if err := p.Group().Freeze(testutil.Context(t, limit)); err != nil { // the runner does not answer
		t.Fatal(err)
	}
	opened := make(chan error, 1)
	ctx, cancel := context.WithCancel(testutil.Context(t, limit))
	go func() {
		_, _, err := p.Open(ctx)
		opened <- err
	}()
	if err := unix.Kill(p.made.init.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	cancel() // whichever it meets first
	if err := testutil.Receive(t, limit, "the failure of Open", opened); err == nil {
		t.Error("no error")
	}
	testutil.WaitClosed(t, limit, "Gone", p.Gone())
	e.nothingLeft()
}

// TestRootPreparedDaemonKilled: prepared containers end with their daemon. The
// next one finds nothing to adopt and removes the folders.
func TestRootPreparedDaemonKilled(t *testing.T) {
	e := newEnv(t)
	spec := e.spec("wait")
	cmd, out := e.daemonDoing(doPrepare, spec, 1)
	testutil.WaitLine(t, limit, out, "prepared <nil>")
	var state wire.State
	if err := wire.ReadFile(e.m.dir(spec.ID), wire.StateFile, &state); err != nil {
		t.Fatal(err)
	}
	pids, err := e.m.parent.Open(state.Cgroup).Procs()
	if err != nil || len(pids) != 2 {
		t.Fatalf("processes %v %v, want a runner and an init", pids, err)
	}
	var procs []wire.Process
	for _, pid := range append(pids, state.Shim.Pid) {
		p, err := wire.FindProcess(pid)
		if err != nil {
			t.Fatal(err)
		}
		procs = append(procs, p)
	}
	e.kill(cmd)
	for _, p := range procs {
		testutil.WaitFor(t, limit, "the end of a process of the prepared container", func() error {
			if alive(p) {
				return fmt.Errorf("process %d is alive", p.Pid)
			}
			return nil
		})
	}
	if found := e.adopt(); len(found) != 0 {
		t.Errorf("adopted %d containers, want none", len(found))
	}
	e.nothingLeft()
}

// TestRootPreparedDaemonKilledInOpen kills the daemon at some instants of Open.
// Whatever the instant: the next daemon has the container running, or nothing.
func TestRootPreparedDaemonKilledInOpen(t *testing.T) {
	const instants = 3
	e := newEnv(t)
	running := 0
	for i := range instants {
		spec := e.spec("wait")
		cmd, out := e.daemonDoing(doOpen, spec, 0)
		testutil.WaitLine(t, limit, out, "prepared <nil>")
		if i == instants-1 {
			testutil.WaitLine(t, limit, out, "started <nil>") // the last instant is after it, however slow the machine
		} else {
			// A pause is what is tested here: some part of an Open, which takes 2 ms.
			timer := time.NewTimer(time.Duration(i) * 500 * time.Microsecond)
			<-timer.C
		}
		e.kill(cmd)
		found := e.adopt()
		running += len(found)
		for _, c := range found {
			if exit, ended := c.Exit(); ended {
				t.Errorf("at instant %d: it has ended: %+v", i, exit)
			}
			e.saw(spec, "waiting")
			e.remove(c)
		}
		e.nothingLeft()
	}
	t.Logf("%d of %d ran on", running, instants)
	if running == 0 {
		t.Error("a container that was open did not run on")
	}
}

// TestRootManagerCloseDiscardsPrepared: they are of no use without it.
func TestRootManagerCloseDiscardsPrepared(t *testing.T) {
	e := newEnv(t)
	opts := e.m.opts
	opts.Ahead = 0
	m, err := NewManager(opts)
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := m.Prepare(testutil.Context(t, limit), e.spec("wait"))
	if err != nil {
		t.Fatal(errors.Join(err, m.Close()))
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	testutil.WaitClosed(t, limit, "Gone", p.Gone())
	e.nothingLeft()
}

// BenchmarkRootPreparedOpen measures the time from the call of Open to execve
// and to the first instruction of the program's main.
func BenchmarkRootPreparedOpen(b *testing.B) {
	e := newEnv(b)
	steps := map[string][]time.Duration{}
	var order []string
	var toMain, prepares []time.Duration
	var memory []uint64
	for b.Loop() {
		b.StopTimer()
		spec := e.spec("now")
		e.poolFull(e.m.pool)
		p, timing, err := e.m.Prepare(testutil.Context(b, limit), spec)
		if err != nil {
			b.Fatal(err)
		}
		prepares = append(prepares, timing.Steps[len(timing.Steps)-1].After)
		e.poolFull(e.m.pool)
		memory = append(memory, p.Memory())
		b.StartTimer()
		c, timing, err := p.Open(testutil.Context(b, limit))
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		e.ended(c)
		toMain = append(toMain, time.Duration(nowOf(b, e.output(spec))-timing.Started))
		for _, s := range timing.Steps {
			if steps[s.Name] == nil {
				order = append(order, s.Name)
			}
			steps[s.Name] = append(steps[s.Name], s.After)
		}
		e.remove(c)
		b.StartTimer()
	}
	for _, name := range order {
		b.Logf("%-16s %7.3f ms", name, ms(median(steps[name])))
	}
	slices.Sort(memory)
	b.ReportMetric(ms(median(prepares)), "ms-to-prepare")
	b.ReportMetric(ms(median(steps["executed"])), "ms-to-exec")
	b.ReportMetric(ms(median(toMain)), "ms-to-main")
	b.ReportMetric(float64(memory[len(memory)/2])/(1<<20), "MiB-held")
}

// nowOf reads what the guest's role "now" has printed.
func nowOf(t testing.TB, output string) int64 {
	t.Helper()
	var at int64
	if _, err := fmt.Sscanf(output, "now %d", &at); err != nil {
		t.Fatalf("%q: %v", output, err)
	}
	return at
}
