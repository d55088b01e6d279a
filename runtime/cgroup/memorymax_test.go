package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/tests/testutil"
)

// TestBoundMemory: what the configuration says is in the parent's file, and no file that is
// somebody else's is touched.
func TestBoundMemory(t *testing.T) {
	for _, c := range []struct {
		name, group string
		has         []string
		most        uint64
		want, fails string
	}{
		{name: "a bound", group: Delegated, has: []string{"memory"}, most: 1 << 30, want: "1073741824"},
		{name: "a bound for a configured parent", group: "/mine", has: []string{"memory"}, most: 1 << 30, want: "1073741824"},
		{name: "it is taken back", group: Own, has: []string{"memory"}, want: "max"},
		{name: "somebody else's parent", group: "/mine", has: []string{"memory"}, want: "before"},
		{name: "no controller, and none needed", group: Own, want: "before"},
		{name: "no controller", group: Own, most: 1 << 30, want: "before", fails: "no memory controller"},
	} {
		p := &Parent{mount: t.TempDir(), group: c.group, has: c.has}
		if err := os.MkdirAll(p.Path(), 0o755); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(p.Path(), "memory.max")
		if err := os.WriteFile(file, []byte("before"), 0o600); err != nil {
			t.Fatal(err)
		}
		err := p.BoundMemory(c.most)
		if (err != nil) != (c.fails != "") || err != nil && !strings.Contains(err.Error(), c.fails) {
			t.Errorf("%s: %v", c.name, err)
		}
		if got, err := os.ReadFile(file); string(got) != c.want || err != nil {
			t.Errorf("%s: memory.max is %q, %v; want %q", c.name, got, err, c.want)
		}
	}
}

// TestRootBoundMemory: a replica that takes more than all may have is ended as a whole, and
// its neighbour runs on.
func TestRootBoundMemory(t *testing.T) {
	p := newParent(t)
	g := newGroup(t, p)
	testutil.RequireFeature(t, "memory controller")
	neighbour, err := p.Create("r-2")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := neighbour.Remove(); err != nil {
			t.Error(err)
		}
	})
	if err := p.BoundMemory(48 << 20); err != nil {
		t.Fatal(err)
	}
	// Without swap, where it would be moved for as long as it likes.
	if err := os.WriteFile(filepath.Join(g.Path(), swapFile), []byte("0"), 0); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	beside := startIn(t, g, "sleep", "1000")
	other := startIn(t, neighbour, "sleep", "1000")
	startIn(t, g, "sh", "-c", "exec head -c 512M /dev/zero | tail")
	testutil.WaitExit(t, limit, beside.Process.Pid)
	if err := beside.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("the process beside it has ended: %v", err)
	}
	if err := other.Process.Signal(unix.Signal(0)); err != nil {
		t.Errorf("the neighbour: %v", err)
	}
	if err := p.BoundMemory(1 << 40); err != nil {
		t.Error(err)
	}
	if err := g.KillAll(testutil.Context(t, limit)); err != nil { // and wait for what is ending
		t.Error(err)
	}
}
