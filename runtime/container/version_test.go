package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/tests/testutil"
)

// installed are the programs in a folder of their own, as a package puts them there.
type installed struct {
	t   *testing.T
	bin string
	dir string
}

func install(t *testing.T) *installed {
	bin, err := binDir()
	if err != nil {
		t.Fatal(err)
	}
	i := &installed{t: t, bin: bin, dir: t.TempDir()}
	i.put("fcnode-runner", "fcnode-runner")
	i.put("fcnode-shim", "fcnode-shim")
	i.put("fcnode-monitor", "fcnode-monitor")
	return i
}

// put replaces one of the programs by another, as dpkg and install(1) do: by a new file.
func (i *installed) put(name, by string) {
	i.t.Helper()
	b, err := os.ReadFile(filepath.Join(i.bin, by))
	if err == nil {
		err = os.WriteFile(filepath.Join(i.dir, name+".new"), b, 0o755)
	}
	if err == nil {
		err = os.Rename(filepath.Join(i.dir, name+".new"), filepath.Join(i.dir, name))
	}
	if err != nil {
		i.t.Fatal(err)
	}
}

// managerOf is a Manager that uses those programs.
func (e *env) managerOf(i *installed) *Manager {
	e.t.Helper()
	opts := e.m.opts
	opts.RunnerPath, opts.ShimPath = filepath.Join(i.dir, "fcnode-runner"), filepath.Join(i.dir, "fcnode-shim")
	opts.MonitorPath = filepath.Join(i.dir, "fcnode-monitor")
	opts.CgroupRoot = "/" + testutil.Unique(e.t)
	m, err := NewManager(opts)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		if err := errors.Join(m.Close(), m.Parent().Remove()); err != nil {
			e.t.Error(err)
		}
	})
	return m
}

// TestRootUpgradeUnderTheDaemon: a package puts other programs in the place of those that
// a daemon uses. Until it is restarted it starts, prepares and executes with its own.
func TestRootUpgradeUnderTheDaemon(t *testing.T) {
	e := newEnv(t)
	programs := install(t)
	e.m = e.managerOf(programs)
	e.start(e.spec("wait"))
	programs.put("fcnode-shim", "container-otherversion")
	programs.put("fcnode-runner", "container-otherversion")
	programs.put("fcnode-monitor", "container-otherversion")
	for range 3 { // more than wait ahead
		c := e.start(e.spec("wait"))
		if code, out := e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "echo", "hello"}}, ""); code != 0 || out != "hello\n" {
			t.Errorf("executing something: code %d, %q", code, out)
		}
	}
	spec := e.spec("wait")
	e.open(e.prepare(spec))
	testutil.WaitFor(t, limit, "its monitor by that name", func() error {
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", e.m.containers[spec.ID].state.Shim.Pid))
		if err == nil && string(comm) != "fcnode-monitor\n" {
			err = fmt.Errorf("it is called %q", comm)
		}
		return err
	})
}

// TestRootProgramsOfAnotherVersion: a daemon that was started when only half of the
// programs were installed says which versions do not fit, leaves nothing behind, and goes on by
// itself when the rest has come.
func TestRootProgramsOfAnotherVersion(t *testing.T) {
	for _, late := range []string{"fcnode-shim", "fcnode-monitor"} {
		t.Run(late, func(t *testing.T) { startsWhenInstalled(t, late) })
	}
}

// startsWhenInstalled installs the program later than the others.
func startsWhenInstalled(t *testing.T, late string) {
	e := newEnv(t)
	programs := install(t)
	programs.put(late, "container-otherversion")
	e.m = e.managerOf(programs)
	for range 3 {
		spec := e.spec("wait")
		_, _, err := e.m.Start(testutil.Context(t, limit), spec)
		var version *wire.VersionError
		if !errors.As(err, &version) || version.Theirs != 99 || version.Ours != wire.Version {
			t.Fatalf("starting a container: %v", err)
		}
		for _, path := range []string{spec.Upper, spec.Work, e.m.dir(spec.ID)} {
			if _, err := os.Lstat(path); !os.IsNotExist(err) {
				t.Errorf("%s is left: %v", path, err)
			}
		}
	}
	programs.put(late, late)
	e.start(e.spec("wait"))
	c := e.start(e.spec("wait"))
	if code, out := e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "echo", "hello"}}, ""); code != 0 || out != "hello\n" {
		t.Errorf("executing something: code %d, %q", code, out)
	}
}

// TestRootRunnerOfAnotherVersion: the same of the other program, also where it is only to
// execute something in a container that is there.
func TestRootRunnerOfAnotherVersion(t *testing.T) {
	e := newEnv(t)
	programs := install(t)
	c := e.start(e.spec("wait"))
	programs.put("fcnode-runner", "container-otherversion")
	first := e.m
	e.m = e.managerOf(programs)
	c.m = e.m
	defer func() { c.m = first }()
	var version *wire.VersionError
	if _, err := c.Exec(testutil.Context(t, limit), ExecSpec{Args: []string{"/bin/guest", "echo", "hello"}}); !errors.As(err, &version) {
		t.Errorf("executing something: %v", err)
	}
	req := c.execRequest(ExecSpec{Args: []string{"/bin/guest"}})
	early, err := e.m.startExec(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = early.cmd.Wait() // before it is asked: how it ended does not matter
	if err := early.begin(testutil.Context(t, limit), req); !errors.As(err, &version) {
		t.Errorf("executing something by a runner that has ended: %v", err)
	}
	if err := early.Close(); err != nil {
		t.Error(err)
	}
	if _, _, err := e.m.Start(testutil.Context(t, limit), e.spec("wait")); !errors.As(err, &version) {
		t.Errorf("starting a container: %v", err)
	}
	programs.put("fcnode-runner", "fcnode-runner")
	if code, out := e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "echo", "hello"}}, ""); code != 0 || out != "hello\n" {
		t.Errorf("executing something: code %d, %q", code, out)
	}
	e.start(e.spec("wait"))
}

// TestRootAdoptAnotherVersion: what monitors of an older or a newer release have left in files
// is enough to adopt their containers, to execute in them and to stop them.
func TestRootAdoptAnotherVersion(t *testing.T) {
	for name, edit := range map[string]func(map[string]any){
		"older": func(s map[string]any) { delete(s, "version") },
		"newer": func(s map[string]any) { s["version"], s["more"] = 99, map[string]any{"of": "it"} },
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			spec := e.spec("wait")
			daemon, out := e.daemon(spec, 1)
			testutil.WaitLine(t, limit, out, "started")
			e.saw(spec, "waiting")
			e.kill(daemon)
			e.editState(spec, edit)
			found := e.adopt()
			if len(found) != 1 {
				t.Fatalf("adopted %d containers", len(found))
			}
			c := found[0]
			if code, out := e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "echo", "hello"}}, ""); code != 0 || out != "hello\n" {
				t.Errorf("executing something: code %d, %q", code, out)
			}
			if err := c.Stop(testutil.Context(t, limit), limit); err != nil {
				t.Fatal(err)
			}
			if exit := e.ended(c); exit.Code != 7 {
				t.Errorf("it ended with %+v", exit)
			}
			e.gone(0) // what waited for the other daemon too
		})
	}
}

// editState changes the record of a replica.
func (e *env) editState(spec Spec, edit func(map[string]any)) {
	e.t.Helper()
	path := filepath.Join(e.m.dir(spec.ID), wire.StateFile)
	var state map[string]any
	b, err := os.ReadFile(path)
	if err == nil {
		d := json.NewDecoder(strings.NewReader(string(b)))
		d.UseNumber()
		err = d.Decode(&state)
	}
	if err == nil {
		edit(state)
		b, err = json.Marshal(state)
	}
	if err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		e.t.Fatal(err)
	}
}
