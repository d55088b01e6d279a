package cgroup

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/fcnode/fcnode/runtime/cgroup/cgroupfd"
	"github.com/fcnode/fcnode/tests/testutil"
	"golang.org/x/sys/unix"
)

const limit = 10 * time.Second

func newParent(t *testing.T) *Parent {
	t.Helper()
	testutil.Privileged(t)
	p, err := OpenParent("/" + testutil.Unique(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Remove(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func newGroup(t *testing.T, p *Parent) *Group {
	t.Helper()
	g, err := p.Create("r-1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// startIn starts a process in the group.
func startIn(t *testing.T, g *Group, name string, args ...string) *exec.Cmd {
	t.Helper()
	dir, err := os.Open(g.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func TestRootFreeze(t *testing.T) {
	g := newGroup(t, newParent(t))
	cmd := startIn(t, g, "sleep", "1000")
	ctx := testutil.Context(t, limit)
	if err := g.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	events, err := os.ReadFile(filepath.Join(g.Path(), "cgroup.events"))
	if err != nil || !strings.Contains(string(events), "frozen 1") {
		t.Errorf("events %q %v", events, err)
	}
	if err := g.Thaw(ctx); err != nil {
		t.Fatal(err)
	}
	if pids, err := g.Procs(); err != nil || len(pids) != 1 || pids[0] != cmd.Process.Pid {
		t.Errorf("processes %v %v", pids, err)
	}
}

// TestRootFreezeCancelled: a wait for what does not come ends with its context.
func TestRootFreezeCancelled(t *testing.T) {
	g := newGroup(t, newParent(t))
	startIn(t, g, "sleep", "1000")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := waitEvent(ctx, g.Path(), "populated 0"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want Canceled", err)
	}
}

func TestRootKillAll(t *testing.T) {
	g := newGroup(t, newParent(t))
	ctx := testutil.Context(t, limit)
	if err := g.KillAll(ctx); err != nil {
		t.Errorf("an empty group: %v", err)
	}
	for range 3 {
		startIn(t, g, "sleep", "1000")
	}
	if err := g.Freeze(ctx); err != nil { // frozen processes die too
		t.Fatal(err)
	}
	if err := g.KillAll(ctx); err != nil {
		t.Fatal(err)
	}
	if err := g.Remove(); err != nil {
		t.Fatal(err)
	}
	if err := g.KillAll(ctx); err != nil {
		t.Errorf("a group that is gone: %v", err)
	}
	if err := g.Remove(); err != nil {
		t.Errorf("removing again: %v", err)
	}
}

// TestRootRemoveAwaitsMonitors: a monitor tells of its container's end a little
// before its own.
func TestRootRemoveAwaitsMonitors(t *testing.T) {
	p := newParent(t)
	leaf, err := p.Monitors()
	if err != nil {
		t.Fatal(err)
	}
	defer leaf.Close()
	monitor := exec.Command("cat")
	monitor.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(leaf.Fd())}
	in, err := monitor.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := monitor.Start(); err != nil {
		t.Fatal(err)
	}
	g, err := p.Create("r-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Remove(); !errors.Is(err, unix.EBUSY) {
		t.Errorf("removing it with a replica in it: %v, want EBUSY at once", err)
	}
	if err := g.Remove(); err != nil {
		t.Fatal(err)
	}
	removed := make(chan error, 1)
	go func() { removed <- p.Remove() }()
	if err := in.Close(); err != nil { // ends it
		t.Error(err)
	}
	if err := testutil.Receive(t, limit, "the removal", removed); err != nil {
		t.Error(err)
	}
	if err := monitor.Wait(); err != nil {
		t.Error(err)
	}
}

// TestRootReuseAfterKill: a group whose processes were killed takes new ones
// (it would not, on some kernels, after a write to cgroup.kill).
func TestRootReuseAfterKill(t *testing.T) {
	g := newGroup(t, newParent(t))
	startIn(t, g, "sleep", "1000")
	if err := g.KillAll(testutil.Context(t, limit)); err != nil {
		t.Fatal(err)
	}
	cmd := startIn(t, g, "true")
	if err := cmd.Wait(); err != nil {
		t.Errorf("a process born after it: %v", err)
	}
}

// TestRootDeviceFilter: it is attached once, and holds in the groups below.
func TestRootDeviceFilter(t *testing.T) {
	p := newParent(t)
	again, err := openParent(Mountpoint, p.group)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(again.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	res, err := link.QueryPrograms(link.QueryOptions{Target: int(dir.Fd()), Attach: ebpf.AttachCGroupDevice})
	if err != nil || len(res.Programs) != 1 {
		t.Errorf("%d device filters (%v), want 1", len(res.Programs), err)
	}
	g := newGroup(t, p)
	node := filepath.Join(t.TempDir(), "disk")
	if err := unix.Mknod(node, unix.S_IFBLK|0o600, int(unix.Mkdev(254, 0))); err != nil {
		t.Fatal(err)
	}
	if err := startIn(t, g, "dd", "if="+node, "of=/dev/null", "count=1").Wait(); err == nil {
		t.Error("a disk can be read in the group")
	}
	if err := startIn(t, g, "dd", "if=/dev/zero", "of=/dev/null", "count=1").Wait(); err != nil {
		t.Errorf("/dev/zero cannot be read in the group: %v", err)
	}
}

func TestRootLimits(t *testing.T) {
	p := newParent(t)
	g := newGroup(t, p)
	if err := g.Set(Limits{CPU: 1, MemoryMax: 64 << 20, Pids: 10}); err != nil {
		t.Fatal(err) // also where there are no controllers
	}
	testutil.RequireFeature(t, "pids controller") // that limits are left out was tested above
	b, err := os.ReadFile(filepath.Join(g.Path(), "pids.max"))
	if err != nil || strings.TrimSpace(string(b)) != "10" {
		t.Errorf("pids.max %q %v", b, err)
	}
}

func TestRootOOMKills(t *testing.T) {
	g := newGroup(t, newParent(t))
	dir, err := os.Open(g.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	n, err := cgroupfd.OOMKills(dir)
	if err != nil || n != 0 {
		t.Errorf("%d %v, want 0", n, err)
	}
	if n, err = g.OOMKills(); err != nil || n != 0 {
		t.Errorf("%d %v, want 0", n, err)
	}
}

func TestParseOOMKills(t *testing.T) {
	if n, err := cgroupfd.ParseOOMKills("low 0\nhigh 3\nmax 9\noom 2\noom_kill 4\noom_group_kill 0\n"); n != 4 || err != nil {
		t.Errorf("%d %v, want 4", n, err)
	}
}

func TestRootOpenParentBad(t *testing.T) {
	testutil.Privileged(t)
	for _, group := range []string{"", "/", "fcnode", "/a/../b"} {
		if _, err := OpenParent(group); err == nil {
			t.Errorf("no error for %q", group)
		}
	}
	if _, err := openParent("/tmp", "/fcnode"); err == nil || !strings.Contains(err.Error(), "not cgroup v2") {
		t.Errorf("a mount of another kind: %v", err)
	}
}

// TestRootEnterPrivate: on a hybrid machine the program gets a cgroup v2 of its
// own and the machine keeps what it has; on others nothing happens.
func TestRootEnterPrivate(t *testing.T) {
	testutil.Privileged(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := func(script string) string {
		t.Helper()
		cmd := exec.Command("unshare", "-m", "sh", "-ec", script, exe)
		cmd.Env = append(os.Environ(), envPrivate+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%v", err)
		}
		return strings.TrimSpace(string(out))
	}
	if out := run(`"$0"`); out != "true false <nil>" {
		t.Errorf("a machine with cgroup v2: %q", out)
	}
	out := run(`mount -t tmpfs none /sys/fs/cgroup; "$0"; stat -f -c %T /sys/fs/cgroup`)
	if out != "true true <nil>\ntmpfs" {
		t.Errorf("a hybrid machine: %q", out)
	}
}
