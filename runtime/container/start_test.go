package container

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/tests/testutil"
	"golang.org/x/sys/unix"
)

func TestRootStartAndExit(t *testing.T) {
	e := newEnv(t)
	spec := e.spec("echo", "hello", "world")
	c, timing, err := e.m.Start(testutil.Context(t, limit), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.remove(c) })
	for i, s := range timing.Steps {
		t.Logf("%-16s %8.3f ms", s.Name, ms(s.After))
		if i > 0 && s.After < timing.Steps[i-1].After {
			t.Errorf("step %q is before the one it follows", s.Name)
		}
	}
	if exit := e.ended(c); exit.Code != 0 || exit.Signal != "" || exit.OOMKilled || exit.MonitorLost {
		t.Errorf("exit %+v, want code 0", exit)
	}
	if out := e.output(spec); strings.TrimSpace(out) != "hello world" {
		t.Errorf("output %q, want %q", out, "hello world")
	}
	if _, err := os.Stat(c.group.Path()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the cgroup of a container that has ended: %v", err)
	}
}

func TestRootExitStatus(t *testing.T) {
	e := newEnv(t)
	if exit, _ := e.run(e.spec("exit", "3")); exit.Code != 3 || exit.Signal != "" {
		t.Errorf("exit %+v, want code 3", exit)
	}
	spec := e.spec("sleep")
	c := e.start(spec)
	e.saw(spec, "sleeping")
	if err := unix.Kill(c.Pid(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if exit := e.ended(c); exit.Code != 137 || exit.Signal != "SIGKILL" || exit.OOMKilled {
		t.Errorf("exit %+v, want SIGKILL", exit)
	}
}

// TestRootStartFails: each failure has its sentinel, names what is wrong and
// leaves nothing behind.
func TestRootStartFails(t *testing.T) {
	e := newEnv(t)
	e.file("bin/text", "not a program", 0o755)
	e.file("bin/script", "#!/bin/missing -x\n", 0o755)
	e.file("bin/plain", "#!/bin/guest\n", 0o644)
	dynamic, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	e.file("bin/dynamic", string(dynamic), 0o755)
	foreign := append([]byte{}, dynamic...)
	foreign[18], foreign[19] = 0xf3, 0 // e_machine: RISC-V
	e.file("bin/foreign", string(foreign), 0o755)

	for _, tt := range []struct {
		name string
		edit func(*Spec)
		want error
		text string
	}{
		{"missing program", func(s *Spec) { s.Args = []string{"/bin/nothing"} }, ErrExec, "/bin/nothing"},
		{"missing in PATH", func(s *Spec) { s.Args = []string{"nothing"} }, ErrExec, "nothing"},
		{"not executable", func(s *Spec) { s.Args = []string{"/bin/plain"} }, ErrExec, "/bin/plain"},
		{"not a program", func(s *Spec) { s.Args = []string{"/bin/text"} }, ErrExec, "/bin/text"},
		{"no interpreter", func(s *Spec) { s.Args = []string{"/bin/script"} }, ErrExec, "/bin/missing"},
		{"no loader", func(s *Spec) { s.Args = []string{"/bin/dynamic"} }, ErrExec, "interpreter /lib"},
		{"other machine", func(s *Spec) { s.Args = []string{"/bin/foreign"} }, ErrExec, "EM_RISCV"},
		{"layer", func(s *Spec) { s.Lower = []string{filepath.Join(e.dir, "gone")} }, ErrRootfs, "gone"},
		{"upper", func(s *Spec) { s.Upper = "/proc/upper" }, ErrRootfs, "/proc/upper"},
		{"user", func(s *Spec) { s.User = "nobody-here" }, ErrUser, "nobody-here"},
		{"volume", func(s *Spec) { s.Mounts = []Mount{{Source: "/nowhere", Target: "/data"}} }, ErrMount, "/nowhere"},
		{"cwd is a file", func(s *Spec) { s.Cwd = "/etc/passwd" }, nil, "/etc/passwd"},
		{"id", func(s *Spec) { s.ID = "../x" }, ErrSpec, "../x"},
		{"signal", func(s *Spec) { s.StopSignal = "SIGNOTHING" }, ErrSpec, "SIGNOTHING"},
		{"limits", func(s *Spec) { s.Limits.CPU = -1 }, ErrSpec, "cpu"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			spec := e.spec("exit", "0")
			tt.edit(&spec)
			c, _, err := e.m.Start(testutil.Context(t, limit), spec)
			if err == nil {
				e.remove(c)
				t.Fatal("no error")
			}
			t.Log(err)
			if tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("error is not %q", tt.want)
			}
			if !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error does not name %q", tt.text)
			}
			if left, _ := filepath.Glob(filepath.Join(e.runDir, "replicas/*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			if _, err := os.Stat(spec.Upper); err == nil {
				t.Error("the upper folder was left behind")
			}
		})
	}
}

func TestRootStartExists(t *testing.T) {
	e := newEnv(t)
	spec := e.spec("wait")
	e.start(spec)
	if _, _, err := e.m.Start(testutil.Context(t, limit), spec); !errors.Is(err, ErrExists) {
		t.Errorf("second start: %v, want ErrExists", err)
	}
	e.saw(spec, "waiting") // and the first one is not disturbed
}

func TestRootStartCancelled(t *testing.T) {
	e := newEnv(t)
	ctx, cancel := context.WithCancel(testutil.Context(t, limit))
	cancel()
	spec := e.spec("wait")
	if c, _, err := e.m.Start(ctx, spec); !errors.Is(err, context.Canceled) {
		if c != nil {
			e.remove(c)
		}
		t.Fatalf("start: %v, want context.Canceled", err)
	}
	// Its cgroup is gone with all that was in it; only the waiting slot has one.
	testutil.WaitFor(t, limit, "the cgroup of the start to go", func() error {
		names, err := e.m.parent.Names()
		if err == nil && len(names) > 1 {
			err = errors.New(strings.Join(names, " "))
		}
		return err
	})
	e.start(spec) // the ID is free
}

func TestRootLimits(t *testing.T) {
	e := newEnv(t)
	spec := e.spec("wait")
	spec.Limits = cgroup.Limits{CPU: 0.5, CPUWeight: 50, MemoryHigh: 96 << 20, MemoryMax: 128 << 20, Pids: 64}
	c := e.start(spec)
	check := func(controller, file, want string) {
		t.Helper()
		if !e.m.Parent().Has(controller) {
			t.Logf("not checked: there is no %s controller in cgroup v2 here", controller)
			return
		}
		got, err := os.ReadFile(filepath.Join(c.Group().Path(), file))
		if err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s is %q (%v), want %q", file, got, err, want)
		}
	}
	check("cpu", "cpu.max", "50000 100000")
	check("cpu", "cpu.weight", "50")
	check("memory", "memory.high", "100663296")
	check("memory", "memory.max", "134217728")
	check("pids", "pids.max", "64")
	if err := c.Group().Update(cgroup.Limits{CPU: 2}); err != nil {
		t.Fatal(err)
	}
	check("cpu", "cpu.max", "200000 100000")
	check("cpu", "cpu.weight", "100")
	check("memory", "memory.max", "max")
	check("pids", "pids.max", "max")
}

func TestRootOOM(t *testing.T) {
	e := newEnv(t)
	testutil.RequireFeature(t, "memory controller")
	spec := e.spec("mem", "256")
	spec.Limits = cgroup.Limits{MemoryMax: 64 << 20}
	p := e.prepare(spec)
	allowSwap(t, p.Group(), false)
	if exit := e.ended(e.open(p)); !exit.OOMKilled || exit.Signal != "SIGKILL" {
		t.Errorf("exit %+v, want OOMKilled", exit)
	}
}
