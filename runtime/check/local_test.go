package check

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/tests/testutil"
)

func TestMain(m *testing.M) { testutil.Main(m) }

func TestLocal(t *testing.T) {
	var m Local
	if r, err := m.Release(); err != nil || !strings.Contains(r, ".") {
		t.Errorf("Release = %q, %v", r, err)
	}
	if _, err := m.Capabilities(); err != nil {
		t.Error(err)
	}
	dir := t.TempDir()
	if err := m.Executable(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no program: %v", err)
	}
	if err := m.Executable(dir); err == nil || !strings.Contains(err.Error(), "is not a program") {
		t.Errorf("a folder: %v", err)
	}
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := m.Executable(file); err == nil || !strings.Contains(err.Error(), "not executable") {
		t.Errorf("a text: %v", err)
	}
	if self, err := os.Executable(); err != nil || m.Executable(self) != nil {
		t.Errorf("this program is no program: %v", err)
	}
	here, err := m.FSType(dir)
	below, err2 := m.FSType(filepath.Join(dir, "not", "there"))
	if err != nil || err2 != nil || here != below {
		t.Errorf("FSType = %#x, %v and %#x, %v", here, err, below, err2)
	}
	if magic, err := m.FSType("/proc"); err != nil || magic != unix.PROC_SUPER_MAGIC {
		t.Errorf("FSType(/proc) = %#x, %v", magic, err)
	}
	if _, err := m.CRIU("/nonexistent/criu"); !errors.Is(err, criu.ErrUnavailable) {
		t.Errorf("no CRIU: %v", err)
	}
	if err := m.Group("fcnode-no-such-group"); err == nil {
		t.Error("a group that nobody made")
	}
}

func TestRootLocal(t *testing.T) {
	testutil.Privileged(t)
	var m Local
	for _, fstype := range []string{"cgroup2", "bpf", "overlay"} {
		if _, err := m.Mountable(fstype); err != nil {
			t.Errorf("%s: %v", fstype, err)
		}
	}
	if _, err := m.Mountable("nosuchfs"); err == nil || !strings.Contains(err.Error(), "has no nosuchfs") {
		t.Errorf("nosuchfs: %v", err)
	}
	if err := m.LinkKind("veth"); err != nil {
		t.Error(err)
	}
	if err := m.LinkKind("nosuchlink"); err == nil || !strings.Contains(err.Error(), "no links of kind nosuchlink") {
		t.Errorf("nosuchlink: %v", err)
	}
	if report := Run(m, configuration(), nil); len(report.Findings) < 15 {
		t.Errorf("report = %+v", report)
	}
}
