package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/tests/testutil"
	"golang.org/x/sys/unix"
)

// private makes the containers of a test have user namespaces, where this machine
// can.
func (e *env) private() *env {
	e.t.Helper()
	testutil.NeedMapping(e.t, e.dir)
	e.userns = true
	return e
}

// netnses are network namespaces that a Manager was given to wait in.
type netnses struct{ open atomic.Int32 }

type openNetns struct {
	file *os.File
	of   *netnses
}

func (n openNetns) FD() *os.File { return n.file }

func (n openNetns) Close() error {
	n.of.open.Add(-1)
	return n.file.Close()
}

// waitIn gives the test another Manager, whose runners can wait in network
// namespaces that next opens.
func (e *env) waitIn(next func() (*os.File, error)) *netnses {
	e.t.Helper()
	n := &netnses{}
	e.m = e.manager("/"+testutil.Unique(e.t)+"-places", func(o *Options) {
		o.RunDir = filepath.Join(o.RunDir, "places") // below a folder that is root's alone
		o.Netns = func(context.Context) (Netns, error) {
			f, err := next()
			if err != nil {
				return nil, err
			}
			n.open.Add(1)
			return openNetns{f, n}, nil
		}
	})
	return n
}

// asUser runs the guest as a user of the machine with no rights but its number.
func asUser(t *testing.T, id uint32, args ...string) string {
	t.Helper()
	cmd := exec.Command(binGuest(t), args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// TestRootUsernsRoot: a site's root is a user of the machine without any rights:
// with all that he is he reads neither root's files nor those of another
// replica, in volumes or layers, and signals none of its processes.
func TestRootUsernsRoot(t *testing.T) {
	e := newEnv(t).private()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	ids := map[wire.IDs]bool{}
	var all []*Container
	for range 2 {
		spec := e.spec("sleep")
		c := e.start(spec)
		e.saw(spec, "sleeping")
		if got := fields(read(t, fmt.Sprintf("/proc/%d/status", c.Pid()))); !strings.HasPrefix(got["Uid"], fmt.Sprint(c.state.IDs, "\t")) {
			t.Errorf("its root is %q of the machine, want %d", got["Uid"], c.state.IDs)
		}
		ids[c.state.IDs] = true
		all = append(all, c)
	}
	if len(ids) != 2 || ids[0] {
		t.Errorf("two replicas have the ranges %v", ids)
	}
	us, others := all[0], all[1]
	root := uint32(us.state.IDs)
	shadow := filepath.Join(fmt.Sprintf("/proc/%d/root", others.Pid()), "etc/passwd")
	out := asUser(t, root, "open", secret, "/proc/1/environ", others.state.Upper, us.state.Upper, shadow)
	if n := strings.Count(out, "permission denied"); n != 5 {
		t.Errorf("%d of 5 were refused: %s", n, out)
	}
	if out := asUser(t, root, "kill", fmt.Sprint(others.Pid())); !strings.Contains(out, "operation not permitted") {
		t.Errorf("a signal for another replica: %s", out)
	}
	// And from within, with the capabilities that he has there.
	for _, what := range []string{"/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches", "/sys/kernel/uevent_helper", "/sys/fs/cgroup/memory.max"} {
		if _, out := e.execOut(us, ExecSpec{Args: []string{"/bin/guest", "touch", what}}, ""); strings.Contains(out, "<nil>") {
			t.Errorf("%s can be written: %s", what, out)
		}
	}
	_, out = e.execOut(us, ExecSpec{Args: []string{"/bin/guest", "siege"}}, "")
	for _, want := range []string{
		"disk: operation not permitted", "user beyond: invalid argument", "group beyond: invalid argument", "owner beyond: invalid argument",
		"namespace: operation not permitted", "mount: operation not permitted", "clock: operation not permitted", "host name: operation not permitted",
	} {
		if !strings.Contains(out, want+"\n") {
			t.Errorf("want %q in\n%s", want, out)
		}
	}
}

// TestRootUsernsPlaces: what makes a container with a user namespace of its own
// waits for it in its network namespace. Where it was killed another one does it
// there, and what nobody needs any more leaves nothing.
func TestRootUsernsPlaces(t *testing.T) {
	e := newEnv(t).private()
	if p := e.m.TakePlace(false); p != nil {
		t.Error("a place without a network namespace")
	}
	all := e.waitIn(func() (*os.File, error) { return e.ns.File(t), nil })
	e.m.ExpectUserns()
	place := func() (*Place, *slot) {
		t.Helper()
		e.poolFull(e.m.places.runners)
		p := e.m.TakePlace(false)
		if p == nil {
			t.Fatal("nothing waits")
		}
		return p, e.m.places.taken[p.FD()]
	}
	for _, killed := range []bool{false, true} {
		p, waited := place()
		if killed {
			if err := unix.Kill(waited.shim.Pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			<-waited.ended
		}
		spec := e.spec("sleep")
		spec.Netns = p.FD()
		c := e.start(spec)
		e.saw(spec, "sleeping")
		if c.state.IDs == 0 || (c.state.Shim == waited.shim) == killed {
			t.Errorf("killed: %t: container %+v, waiting was %+v", killed, c.state, waited)
		}
		in, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", c.Pid()))
		want, wantErr := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", p.FD().Fd()))
		if in != want || err != nil || wantErr != nil {
			t.Errorf("its network namespace is %s, %v; that of its place %s, %v", in, err, want, wantErr)
		}
		if e.m.places.leave(p.FD()) != nil {
			t.Error("what waited there waits still")
		}
		e.remove(c)
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}

	p, waited := place()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if waited.alive() {
		t.Error("a runner waits in a place that was given up")
	}
	if err := e.m.places.close(); err != nil {
		t.Error(err)
	}
	if n := all.open.Load(); n != 0 {
		t.Errorf("%d network namespaces are left", n)
	}
	if n := len(e.m.ids.used); n != 0 {
		t.Errorf("%d ranges of users are left", n)
	}
}

// TestRootUsernsFiles: owners in volumes, image and writable layer are those on
// disk, whatever range the replica has, and what a site's root writes is on disk
// as root's.
func TestRootUsernsFiles(t *testing.T) {
	e := newEnv(t).private()
	data := t.TempDir()
	e.file("srv/of-web", "x", 0o600)
	guest, err := os.ReadFile(filepath.Join(e.lower, "bin/guest"))
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(
		os.Chown(filepath.Join(e.lower, "srv/of-web"), 1000, 1001),
		os.WriteFile(filepath.Join(data, "of-33"), []byte("x"), 0o640), os.Chown(filepath.Join(data, "of-33"), 33, 34),
		os.WriteFile(filepath.Join(data, "beyond"), []byte("x"), 0o644), os.Chown(filepath.Join(data, "beyond"), 70000, 70000),
		os.WriteFile(filepath.Join(data, "suid"), guest, 0o755), os.Chmod(filepath.Join(data, "suid"), 0o755|os.ModeSetuid),
	)
	if err != nil {
		t.Fatal(err)
	}
	with := func(args ...string) Spec {
		spec := e.spec(args...)
		spec.Mounts = []Mount{{Source: data, Target: "/data"}}
		return spec
	}
	spec := with("owners", "/data/of-33", "/data/beyond", "/srv/of-web", "/bin/guest", "/etc/hosts", "/", "/dev/null", "/proc/1", "/dev/shm")
	if _, out := e.run(spec); out != "/data/of-33 33 34\n/data/beyond 65534 65534\n/srv/of-web 1000 1001\n/bin/guest 0 0\n/etc/hosts 0 0\n/ 0 0\n/dev/null 0 0\n/proc/1 0 0\n/dev/shm 0 0\n" {
		t.Errorf("owners inside:\n%s", out)
	}
	spec = with("touch", "/data/new", "/srv/new", "/data/of-33", "/data/beyond")
	_, out := e.run(spec)
	if strings.Count(out, "<nil>") != 3 || !strings.Contains(out, "/data/beyond open /data/beyond: permission denied") {
		t.Errorf("writing: %s", out)
	}
	spec = with("chown", "/srv/of-web", "7", "8")
	e.run(spec)
	for path, want := range map[string]string{
		filepath.Join(data, "new"): "0 0", filepath.Join(data, "of-33"): "33 34",
		filepath.Join(spec.Upper, "srv/of-web"): "7 8", filepath.Join(spec.Upper, "etc/hosts"): "0 0",
	} {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil || fmt.Sprint(st.Uid, " ", st.Gid) != want {
			t.Errorf("%s is %d %d's on disk (%v), want %s", path, st.Uid, st.Gid, err, want)
		}
	}
	// A set-user-ID program in a volume does not count, whoever has written it.
	spec = with("become", "/data/suid", "cat", "/proc/self/status")
	spec.User, spec.Privileges.New = "web", true
	if _, out := e.run(spec); fields(out)["Uid"] != "1000\t1000\t1000\t1000" {
		t.Errorf("a set-user-ID program in a volume: %s", out)
	}
	spec = with("say")
	spec.User = "web"
	if _, out := e.run(spec); !strings.Contains(out, "said /dev/stdout <nil>") || !strings.Contains(out, "said /dev/stderr <nil>") {
		t.Errorf("another user's standard streams: %s", out)
	}
	spec = e.spec("ping")
	spec.User = "web"
	netns := replicaNS(t).File(t)
	defer netns.Close()
	spec.Netns = netns
	if _, out := e.run(spec); out != "user 1000 answer of 8 <nil>\n" {
		t.Errorf("ping: %q", out)
	}
}

// TestRootUsernsSuid: set-user-ID programs of the image work in a user namespace.
func TestRootUsernsSuid(t *testing.T) {
	e := newEnv(t).private()
	guest, err := os.ReadFile(filepath.Join(e.lower, "bin/guest"))
	if err != nil {
		t.Fatal(err)
	}
	e.file("bin/suid", string(guest), 0o755)
	if err := os.Chmod(filepath.Join(e.lower, "bin/suid"), 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	for _, readOnly := range []bool{false, true} {
		spec := e.spec("become", "/bin/suid", "cat", "/proc/self/status")
		spec.User, spec.Privileges.New, spec.ReadOnlyRoot = "web", true, readOnly
		if _, out := e.run(spec); fields(out)["Uid"] != "1000\t0\t0\t0" || fields(out)["CapEff"] != defaultCaps {
			t.Errorf("read-only %v: %s", readOnly, out)
		}
	}
}

// TestRootUsernsRanges: where all ranges are in use a start says so, and leaves
// nothing behind; a range comes back with the end of its container, not before, also for
// a daemon that has adopted it.
func TestRootUsernsRanges(t *testing.T) {
	e := newEnv(t).private()
	e.m.ids = newIDs(1)
	spec := e.spec("wait")
	c := e.start(spec)
	e.saw(spec, "waiting")
	next := e.spec("wait")
	if _, _, err := e.m.Start(testutil.Context(t, limit), next); err == nil || !strings.Contains(err.Error(), "all 1 ranges") {
		t.Errorf("one too many: %v", err)
	}
	if _, err := os.Stat(next.Upper); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it left %s: %v", next.Upper, err)
	}
	e.remove(c)
	p := e.prepare(next)
	if _, _, err := e.m.Start(testutil.Context(t, limit), e.spec("wait")); err == nil {
		t.Error("a prepared container shares its range")
	}
	if err := p.Discard(); err != nil {
		t.Fatal(err)
	}
	missing := e.spec("wait")
	missing.Args = []string{"/bin/nothing"}
	if _, _, err := e.m.Start(testutil.Context(t, limit), missing); !errors.Is(err, ErrExec) {
		t.Errorf("a program that is missing: %v", err)
	}
	c = e.adopted() // by another manager of the same name
	if !c.m.ids.used[c.state.IDs] || c.state.IDs == 0 {
		t.Errorf("the range %d of an adopted container is free", c.state.IDs)
	}
	e.remove(c)
	if c.m.ids.used[c.state.IDs] {
		t.Errorf("the range %d of a container that is gone is in use", c.state.IDs)
	}
}

// TestRootUsernsClones: replicas that are restored from one image at the same time have ranges of their own, and the image none:
// what they write is on disk as what they see it to be, and those that have been restored are put to sleep again.
func TestRootUsernsClones(t *testing.T) {
	e := newEnv(t).private()
	e.file("var/x", "", 0o644)
	data := t.TempDir()
	counter := func() (Spec, *testutil.NS) {
		ns := replicaNS(t)
		s := e.counterSpec(ns, "0", "/var/kept")
		s.Mounts = []Mount{{Source: data, Target: "/data"}}
		return s, ns
	}
	needCRIU(t, e.m)
	spec, ns := counter()
	c := e.start(spec)
	e.saw(spec, "listening")
	get(t, ns, "/count")
	first := c.state.IDs
	opts := options()
	opts.Clonable = true
	e.park(c, e.checkpointDir(), opts)
	mark := e.m.ids
	mark.mark(first) // somebody else has it by now
	var all []*Container
	for i := range 2 {
		spec, ns := counter()
		c := e.restore(spec, e.checkpointDir())
		if got := get(t, ns, "/count"); got != "2" {
			t.Errorf("clone %d counts %s instead of 2", i, got)
		}
		if got := fields(read(t, fmt.Sprintf("/proc/%d/status", c.Pid()))); !strings.HasPrefix(got["Uid"], fmt.Sprint(c.state.IDs, "\t")) || c.state.IDs == first {
			t.Errorf("the root of clone %d is %q of the machine, want %d, and not %d", i, got["Uid"], c.state.IDs, first)
		}
		e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "touch", "/var/own", fmt.Sprint("/data/", i)}}, "")
		for _, path := range []string{filepath.Join(spec.Upper, "var/own"), filepath.Join(data, fmt.Sprint(i))} {
			var st unix.Stat_t
			if err := unix.Stat(path, &st); err != nil || st.Uid != 0 || st.Gid != 0 {
				t.Errorf("%s is %d %d's on disk, %v", path, st.Uid, st.Gid, err)
			}
		}
		all = append(all, c)
	}
	if all[0].state.IDs == all[1].state.IDs {
		t.Errorf("both have the range from %d on", all[0].state.IDs)
	}
	again := filepath.Join(e.dir, "checkpoints", "again")
	e.park(all[1], again, options())
	host, _ := counter()
	host.Userns = false
	if _, _, err := e.m.Restore(testutil.Context(t, limit), host, e.checkpointDir()); !errors.Is(err, criu.ErrUnusable) {
		t.Errorf("a restore without a user namespace: %v", err)
	}
	spec, ns = counter()
	e.restore(spec, again)
	if got := get(t, ns, "/count"); got != "3" {
		t.Errorf("after the second sleep it counts %s instead of 3", got)
	}
}

// TestRootUsernsRestoredInPlace: CRIU waits for a restore in the network namespace of its container; what waits
// there for a start gives way.
func TestRootUsernsRestoredInPlace(t *testing.T) {
	e := newEnv(t).private()
	needCRIU(t, e.m)
	ns := replicaNS(t)
	all := e.waitIn(func() (*os.File, error) { return ns.File(t), nil })
	needCRIU(t, e.m)
	spec := e.counterSpec(ns, "0")
	c := e.start(spec)
	e.saw(spec, "listening")
	get(t, ns, "/count")
	opts := options()
	opts.Clonable = true
	e.park(c, e.checkpointDir(), opts)
	e.m.ExpectUserns()
	for i, restores := range []bool{true, false} {
		var p *Place
		testutil.WaitFor(t, limit, "somebody to wait", func() error {
			if p = e.m.TakePlace(restores); p == nil {
				return errors.New("nobody does")
			}
			return nil
		})
		waited := e.m.places.taken[p.FD()]
		spec := e.counterSpec(ns, "0")
		spec.Netns = p.FD()
		c := e.restore(spec, e.checkpointDir())
		if got := get(t, ns, "/count"); got != "2" {
			t.Errorf("clone %d counts %s instead of 2", i, got)
		}
		if (c.state.Shim == waited.shim && c.state.IDs == waited.ids) != restores || waited.alive() != restores {
			t.Errorf("container %+v, waiting for a restore: %t, was %+v", c.state, restores, waited)
		}
		e.remove(c)
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := e.m.places.close(); err != nil || all.open.Load() != 0 {
		t.Errorf("%d network namespaces are left, %v", all.open.Load(), err)
	}
}
