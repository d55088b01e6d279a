package folders

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/tests/testutil"
)

// foldersIn is a configuration with the node's folders in dir.
func foldersIn(dir string) config.Config {
	run := filepath.Join(dir, "run")
	return config.Config{StateDir: filepath.Join(dir, "state"), RunDir: run, Socket: filepath.Join(run, "s"), SocketGroup: "no-such-group"}
}

func TestRootOwnMends(t *testing.T) {
	testutil.Privileged(t)
	cfg := foldersIn(t.TempDir())
	if mended, err := Own(cfg); err != nil || len(mended) > 0 {
		t.Fatalf("new folders: %v %v", mended, err)
	}
	state := cfg.StateDir
	upper := filepath.Join(state, "replicas/one/upper")
	log := filepath.Join(state, "logs/output.log")
	err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(filepath.Dir(log), 0o755), os.WriteFile(log, nil, 0o644),
		os.Symlink("/etc/passwd", filepath.Join(state, "link")), os.Chmod(state, 0o711))
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	mended, err := Own(cfg)
	if err != nil || len(mended) != 1 || !strings.Contains(mended[0], state+" had mode 0711") {
		t.Fatalf("a folder that others could enter: %q %v", mended, err)
	}
	for path, want := range map[string]fs.FileMode{
		state: 0o700, cfg.RunDir: 0o700, filepath.Join(state, "replicas"): 0o700, filepath.Join(state, "replicas/one"): 0o700, upper: 0o755, log: 0o600,
	} {
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != want {
			t.Errorf("%s: %v %v, want %v", path, fi.Mode(), err, want)
		}
	}
	if after, err := os.Stat("/etc/passwd"); err != nil || after.Mode() != before.Mode() {
		t.Errorf("where a link leads: %v %v, want %v", after.Mode(), err, before.Mode())
	}
	if err := os.Chown(state, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if mended, err := Own(cfg); err != nil || len(mended) != 1 || !strings.Contains(mended[0], "owner 65534") {
		t.Errorf("a folder of another owner: %q %v", mended, err)
	}
	if mended, err := Own(cfg); err != nil || len(mended) > 0 {
		t.Errorf("once more: %q %v", mended, err)
	}
}

func TestRootOwnRefuses(t *testing.T) {
	testutil.Privileged(t)
	for name, tt := range map[string]struct {
		prepare func(dir string) error
		says    string
	}{
		"link": {func(dir string) error {
			return errors.Join(os.Mkdir(filepath.Join(dir, "real"), 0o700), os.Symlink("real", filepath.Join(dir, "state")))
		}, "is a symbolic link, to real; set stateDir"},
		"dangling link":  {func(dir string) error { return os.Symlink("nowhere", filepath.Join(dir, "state")) }, "state"},
		"file":           {func(dir string) error { return os.WriteFile(filepath.Join(dir, "state"), nil, 0o600) }, "state"},
		"in another's":   {func(dir string) error { return os.Chown(dir, 65534, 0) }, "belongs to user 65534"},
		"in everybody's": {func(dir string) error { return os.Chmod(dir, 0o777) }, "chmod go-w"},
		"in a group's":   {func(dir string) error { return os.Chmod(dir, 0o775) }, "chmod go-w"},
		"planted in a tmp": {func(dir string) error {
			state := filepath.Join(dir, "state")
			return errors.Join(os.Chmod(dir, 0o777|os.ModeSticky), os.Mkdir(state, 0o700), os.Chown(state, 65534, 65534))
		}, "belongs to another user"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "above")
			if err := errors.Join(os.Mkdir(dir, 0o755), tt.prepare(dir)); err != nil {
				t.Fatal(err)
			}
			if _, err := Own(foldersIn(dir)); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want one that says %q", err, tt.says)
			}
		})
	}
	// Behind a link of root's in a safe place lies one that is not.
	dir := t.TempDir()
	open := filepath.Join(dir, "open")
	if err := errors.Join(os.MkdirAll(filepath.Join(open, "below"), 0o755), os.Chmod(open, 0o777), os.Symlink("open/below", filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	if _, err := Own(foldersIn(filepath.Join(dir, "link"))); err == nil || !strings.Contains(err.Error(), open+", above it") {
		t.Errorf("behind a link: %v", err)
	}
}

// TestRootOwnBesideMounts: the sink's namespace is mounted at a file of the run folder, and takes no mode.
func TestRootOwnBesideMounts(t *testing.T) {
	testutil.Privileged(t)
	cfg := foldersIn(t.TempDir())
	sink := filepath.Join(cfg.RunDir, "sink")
	err := errors.Join(os.MkdirAll(cfg.RunDir, 0o755), os.WriteFile(sink, nil, 0o644), unix.Mount("/proc/self/ns/net", sink, "", unix.MS_BIND, ""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(sink, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if mended, err := Own(cfg); err != nil || len(mended) != 1 {
		t.Errorf("%q %v", mended, err)
	}
}

// TestRootRemoveMounted: a folder on a disk of its own is emptied, and stays; what is mounted below it is nobody's to remove.
func TestRootRemoveMounted(t *testing.T) {
	testutil.Privileged(t)
	dir := filepath.Join(t.TempDir(), "state")
	mount := func(at string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(at, 0o700), unix.Mount("none", at, "tmpfs", 0, "")); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(at, 0) })
	}
	mount(dir)
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "a/b"), 0o700), os.WriteFile(filepath.Join(dir, "a/b/c"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := Remove(dir); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("there is %v, %v", left, err)
	}
	mount(filepath.Join(dir, "other"))
	if err := Remove(dir); !errors.Is(err, unix.EBUSY) {
		t.Errorf("what is mounted below it: %v", err)
	}
}
