package cgroup

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/cgroup/cgroupfd"
	"github.com/fcnode/fcnode/tests/testutil"
)

// newChild makes a child of a group with processes that fork all the time.
func newChild(t *testing.T, g *Group) (path string, cmd *exec.Cmd) {
	t.Helper()
	child := &Group{parent: &Parent{mount: g.parent.mount, group: filepath.Join(g.parent.group, g.name)}, name: "exec-1"}
	path = g.Child("exec-1")
	if child.Path() != path {
		t.Fatalf("child %s of %s", path, g.Path())
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path, startIn(t, child, "sh", "-c", "while :; do sleep 0; done")
}

// TestRootChild: what is done with a group is done with its children.
func TestRootChild(t *testing.T) {
	g := newGroup(t, newParent(t))
	own := startIn(t, g, "sleep", "1000")
	path, cmd := newChild(t, g)
	ctx := testutil.Context(t, limit)
	for range 20 { // the kernel may call the group frozen before its child is
		if err := g.Freeze(ctx); err != nil {
			t.Fatal(err)
		}
		events, err := os.ReadFile(filepath.Join(path, "cgroup.events"))
		if err != nil || !strings.Contains(string(events), "frozen 1") {
			t.Errorf("the child's events %q %v", events, err)
		}
		if err := g.Thaw(ctx); err != nil {
			t.Fatal(err)
		}
	}
	pids, err := g.Procs()
	if err != nil || !slices.Contains(pids, own.Process.Pid) || !slices.Contains(pids, cmd.Process.Pid) {
		t.Errorf("processes %v %v, want %d and %d among them", pids, err, own.Process.Pid, cmd.Process.Pid)
	}
	if err := g.Remove(); err == nil {
		t.Error("it is removed with its processes")
	}
	if err := g.KillAll(ctx); err != nil {
		t.Fatal(err)
	}
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
}

// TestRootEndChild: what is in a child ends, frozen or not; the rest of the
// group goes on.
func TestRootEndChild(t *testing.T) {
	for _, frozen := range []bool{false, true} {
		g := newGroup(t, newParent(t))
		own := startIn(t, g, "sleep", "1000")
		path, _ := newChild(t, g)
		ctx := testutil.Context(t, limit)
		if frozen {
			if err := g.Freeze(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if err := g.EndChildren(testutil.Timeout(limit)); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the child is there: %v", err)
		}
		if pids, err := g.Procs(); err != nil || !slices.Equal(pids, []int{own.Process.Pid}) {
			t.Errorf("processes %v %v, want %d", pids, err, own.Process.Pid)
		}
		if err := errors.Join(cgroupfd.End(path, 0), cgroupfd.EndBelow(path, 0)); err != nil {
			t.Errorf("ending one that is gone: %v", err)
		}
		if err := g.KillAll(ctx); err != nil {
			t.Fatal(err)
		}
	}
}
