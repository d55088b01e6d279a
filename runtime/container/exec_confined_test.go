package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/tests/testutil"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// containers makes a container in each of the ways in which one comes to run.
var containers = map[string]func(e *env) *Container{
	"private prepared": func(e *env) *Container { return e.private().prepared() },
	"private restored": func(e *env) *Container { return e.private().restored() },
	"private adopted":  func(e *env) *Container { return e.private().adopted() },
	"private placed":   func(e *env) *Container { return e.private().placed() },
	"started": func(e *env) *Container {
		spec := e.spec("wait")
		c := e.start(spec)
		e.saw(spec, "waiting")
		return c
	},
	"prepared": (*env).prepared,
	"restored": (*env).restored,
	"adopted":  (*env).adopted,
}

// placed makes one by a runner that has waited in its network namespace.
func (e *env) placed() *Container {
	e.waitIn(func() (*os.File, error) { return e.ns.File(e.t), nil })
	e.m.ExpectUserns()
	e.poolFull(e.m.places.runners)
	p := e.m.TakePlace(false)
	e.t.Cleanup(func() {
		if err := p.Close(); err != nil {
			e.t.Error(err)
		}
	})
	spec := e.spec("wait")
	spec.Netns = p.FD()
	c := e.start(spec)
	e.saw(spec, "waiting")
	return c
}

func (e *env) prepared() *Container {
	spec := e.spec("wait")
	c := e.open(e.prepare(spec))
	e.saw(spec, "waiting")
	return c
}

func (e *env) restored() *Container {
	needCRIU(e.t, e.m)
	before, after := replicaNS(e.t), replicaNS(e.t)
	spec := e.counterSpec(before)
	c := e.start(spec)
	e.saw(spec, "listening")
	e.park(c, e.checkpointDir(), options())
	return e.restore(e.counterSpec(after), e.checkpointDir())
}

func (e *env) adopted() *Container {
	spec := e.spec("wait")
	cmd, out := e.daemon(spec, 0)
	testutil.WaitLine(e.t, limit, out, "started <nil>")
	e.saw(spec, "waiting")
	e.kill(cmd)
	return e.adopt()[0]
}

// eachContainer runs a test with each of them.
func eachContainer(t *testing.T, fn func(e *env, c *Container)) {
	for name, make := range containers {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			fn(e, make(e))
		})
	}
}

// execSleep executes what stays until the end of the test.
func (e *env) execSleep(c *Container, tty bool) *ExecProcess {
	e.t.Helper()
	p, err := c.Exec(testutil.Context(e.t, limit), ExecSpec{Args: []string{"/bin/guest", "sleep"}, TTY: tty, Cols: 80, Rows: 24})
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		if err := p.Close(); err != nil {
			e.t.Error(err)
		}
	})
	e.execReads(p, "sleeping")
	return p
}

// execReads waits until the process has written a line.
func (e *env) execReads(p *ExecProcess, line string) []*os.File {
	e.t.Helper()
	files := p.Files()
	e.t.Cleanup(func() {
		for _, f := range files {
			f.Close()
		}
	})
	testutil.WaitLine(e.t, limit, lines(files[min(1, len(files)-1)]), line)
	return files
}

// confinement is all that the kernel says of what a process may and may not do.
func confinement(t *testing.T, pid int) map[string]string {
	t.Helper()
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	got := map[string]string{}
	namespaces, err := os.ReadDir(filepath.Join(proc, "ns"))
	if err != nil {
		t.Fatal(err)
	}
	for _, ns := range namespaces {
		got["ns/"+ns.Name()], err = os.Readlink(filepath.Join(proc, "ns", ns.Name()))
		if err != nil {
			t.Fatal(err)
		}
	}
	status := fields(read(t, filepath.Join(proc, "status")))
	for _, name := range []string{
		"Umask", "Uid", "Gid", "Groups", "NoNewPrivs", "Seccomp", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "SigIgn",
		"Cpus_allowed", "Mems_allowed", "THP_enabled", "Speculation_Store_Bypass", "SpeculationIndirectBranch", "untag_mask",
	} {
		got[name] = status[name]
	}
	for _, name := range []string{"limits", "oom_score_adj", "personality", "coredump_filter", "timerslack_ns", "loginuid", "mountinfo", "attr/current", "cgroup"} {
		b, err := os.ReadFile(filepath.Join(proc, name))
		if err != nil { // the kernel has no such thing: for both
			b = []byte(errors.Unwrap(err).Error())
		}
		got[name] = string(b)
	}
	_, rest, _ := strings.Cut(read(t, filepath.Join(proc, "stat")), ") ")
	stat := strings.Fields(rest)
	for name, i := range map[string]int{"priority": 18, "nice": 19, "real-time priority": 40, "policy": 41} {
		got[name] = stat[i-3]
	}
	var root unix.Stat_t
	if err := unix.Stat(filepath.Join(proc, "root")+"/", &root); err != nil {
		t.Fatal(err)
	}
	got["root"] = fmt.Sprint(root.Dev, root.Ino)
	return got
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestRootExecIsConfined: an executed process is confined as init is, in each of
// its namespaces, wherever its container came from and whatever the daemon is
// allowed itself.
func TestRootExecIsConfined(t *testing.T) {
	eachContainer(t, func(e *env, c *Container) {
		// not those of the daemon that has started it
		old := unix.Umask(0o077)
		defer unix.Umask(old)
		var limits, lower unix.Rlimit
		if err := unix.Prlimit(0, unix.RLIMIT_STACK, nil, &limits); err != nil {
			e.t.Fatal(err)
		}
		lower = limits
		lower.Cur = 4 << 20
		if err := unix.Prlimit(0, unix.RLIMIT_STACK, &lower, nil); err != nil {
			e.t.Fatal(err)
		}
		defer unix.Prlimit(0, unix.RLIMIT_STACK, &limits, nil) //nolint:errcheck // as it was
		want := confinement(t, c.Pid())
		for _, tty := range []bool{false, true} {
			p := e.execSleep(c, tty)
			got := confinement(t, p.Pid())
			inner := strings.TrimSpace(want["cgroup"]) + "/exec-"
			if !strings.HasPrefix(got["cgroup"], inner) {
				t.Errorf("tty %v: cgroup %q, want one below %q", tty, got["cgroup"], inner)
			}
			got["cgroup"] = want["cgroup"]
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("tty %v: a process of exec differs from init (- init, + exec):\n%s", tty, diff)
			}
		}
		for number, want := range map[int]unix.Errno{unix.SYS_SWAPON: unix.EPERM, unix.SYS_UNSHARE: unix.EPERM, 1023: unix.ENOSYS} {
			_, out := e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "syscall", strconv.Itoa(number)}}, "")
			if got := strings.TrimSpace(out); got != fmt.Sprintf("errno %d", want) {
				t.Errorf("system call %d: %q, want %d", number, got, want)
			}
		}
	})
}

// descriptors are those of a process, but for those that Go's runtime opens.
func descriptors(t *testing.T, pid int) map[string]string {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, fd := range fds {
		target, err := os.Readlink(filepath.Join(dir, fd.Name()))
		if err == nil && !strings.HasPrefix(target, "anon_inode:[event") && !strings.HasPrefix(target, "/sys/fs/cgroup/cpu.") {
			got[fd.Name()] = target
		}
	}
	return got
}

// TestRootDescriptors: init has its /dev/null and the pipes of its monitor, a
// process of exec three streams of its own, and neither has anything else.
func TestRootDescriptors(t *testing.T) {
	eachContainer(t, func(e *env, c *Container) {
		t := e.t.(*testing.T)
		var streams wire.Streams
		if err := wire.ReadFile(e.m.dir(c.ID()), wire.StreamsFile, &streams); err != nil {
			t.Fatal(err)
		}
		got := descriptors(t, c.Pid())
		for fd, target := range got { // what the counter has itself
			if strings.HasPrefix(target, "socket:") {
				delete(got, fd)
			}
		}
		var null, host unix.Stat_t
		if err := errors.Join(unix.Stat(fmt.Sprintf("/proc/%d/fd/0", c.Pid()), &null), unix.Stat("/dev/null", &host)); err != nil {
			t.Fatal(err)
		}
		if null.Rdev != host.Rdev || null.Dev == host.Dev {
			t.Errorf("standard input is not /dev/null of the container, but %s", got["0"])
		}
		delete(got, "0")
		out, errs := fmt.Sprintf("pipe:[%d]", streams.Stdout), fmt.Sprintf("pipe:[%d]", streams.Stderr)
		if diff := cmp.Diff(map[string]string{"1": out, "2": errs}, got); diff != "" {
			t.Errorf("descriptors of init (- wanted, + there):\n%s", diff)
		}
		shim := map[string]bool{}
		for _, target := range descriptors(t, c.state.Shim.Pid) {
			shim[target] = true
		}
		if !shim[out] || !shim[errs] {
			t.Errorf("the monitor has %v, without %s and %s", shim, out, errs)
		}
		for _, tty := range []bool{false, true} {
			got := descriptors(t, e.execSleep(c, tty).Pid())
			if len(got) != 3 {
				t.Errorf("tty %v: descriptors of a process of exec: %v", tty, got)
			}
			for _, fd := range []string{"0", "1", "2"} {
				if target := got[fd]; tty != strings.HasPrefix(target, "/dev/pts/") && tty == strings.HasPrefix(target, "pipe:") || target == out || target == errs {
					t.Errorf("tty %v: descriptor %s is %s", tty, fd, target)
				}
			}
		}
	})
}

// TestRootExecRefuses: where it is not certain that a process is the container's
// init, nothing is executed.
func TestRootExecRefuses(t *testing.T) {
	e := newEnv(t)
	spec := e.spec("wait")
	c, other := e.start(spec), e.start(e.spec("wait"))
	e.saw(spec, "waiting")
	record := filepath.Join(e.m.libDir(c.state.Cgroup), "state.json")
	text := read(t, record)
	self, err := wire.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	init := c.init
	for _, tt := range []struct {
		name, record string
		init         wire.Process
		want         string
	}{
		{"the number is another process'", text, wire.Process{Pid: init.Pid, Start: init.Start + 1}, "has ended"},
		{"no process", text, wire.Process{Pid: 1 << 22, Start: 1}, "has ended"},
		{"of another replica", text, other.init, "is not in cgroup"},
		{"of the machine", text, self, "is not in cgroup"},
		{"a record of an earlier container", strings.ReplaceAll(text, fmt.Sprintf(`"init_process_pid":%d`, init.Pid), `"init_process_pid":1`), init, "is of process 1"},
		{"a record of an earlier start", strings.ReplaceAll(text, fmt.Sprintf(`"init_process_start":%d`, init.Start), `"init_process_start":1`), init, "libcontainer's record"},
		{"a record without a filter", strings.ReplaceAll(text, `"seccomp":{`, `"other":{`), init, "no seccomp filter"},
		{"a broken record", text[:len(text)/2], init, "libcontainer's record"},
		{"no record", "", init, "libcontainer's record"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(record, []byte(tt.record), 0o600); err != nil {
				t.Fatal(err)
			}
			c.init = tt.init
			defer func() { c.init = init }()
			p, err := c.Exec(testutil.Context(t, limit), ExecSpec{Args: []string{"/bin/guest", "touch", "/executed"}})
			if err == nil {
				_ = p.Close()
				t.Fatal("it was executed")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("err = %v, want %q", err, tt.want)
			}
			for _, s := range []wire.State{c.state, other.state} {
				if _, err := os.Stat(filepath.Join(s.Upper, "executed")); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("it was executed in %s: %v", s.ID, err)
				}
			}
		})
	}
	if err := os.WriteFile(record, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	e.noExecs(c)
}
