package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// checkInMemory checks the sizes of folders in memory of a container.
func (e *env) checkInMemory(c *Container, sizes map[string]int64) {
	e.t.Helper()
	for folder, want := range sizes {
		var st unix.Statfs_t
		if err := unix.Statfs(filepath.Join(fmt.Sprintf("/proc/%d/root", c.Pid()), folder), &st); err != nil {
			e.t.Fatal(err)
		}
		if got := int64(st.Blocks) * st.Bsize; st.Type != unix.TMPFS_MAGIC || got != want {
			e.t.Errorf("%s: %d bytes, want %d, in a file system of type %x", folder, got, want, st.Type)
		}
	}
}

// TestRootInMemory: with a read-only root a site writes to its folders in memory and volumes only. What the image has there is copied, with owners, modes and
// links; what a volume has is not.
func TestRootInMemory(t *testing.T) {
	t.Run("host", func(t *testing.T) { inMemory(newEnv(t)) })
	t.Run("private", func(t *testing.T) { inMemory(newEnv(t).private()) })
}

func inMemory(e *env) {
	t := e.t
	e.file("run/lock/a", "x", 0o640)
	lock, vol := filepath.Join(e.lower, "run/lock"), t.TempDir()
	err := errors.Join(os.Chown(lock, 1000, 1001), unix.Chmod(lock, 0o2775), os.Symlink("/etc/passwd", lock+"/away"), os.Symlink("run", filepath.Join(e.lower, "link")),
		os.MkdirAll(vol+"/cache", 0o777), os.WriteFile(vol+"/cache/old", nil, 0o600), unix.Chmod(vol, 0o777))
	if err != nil {
		t.Fatal(err)
	}
	spec := e.spec("sleep")
	spec.ReadOnlyRoot, spec.ShmSize = true, 1<<20
	spec.Mounts = []Mount{
		{Tmpfs: true, Target: "/link"}, {Source: vol, Target: "/run/vol"}, {Tmpfs: true, Target: "/run/vol/cache"},
		{Tmpfs: true, Target: "/new/deep", Size: 2 << 20, NoExec: true},
	}
	c := e.start(spec)
	e.saw(spec, "sleeping")
	e.checkInMemory(c, map[string]int64{"/dev/shm": 1 << 20, "/new/deep": 2 << 20})
	guest := func(args ...string) string {
		_, out := e.execOut(c, ExecSpec{Args: append([]string{"/bin/guest"}, args...), User: "web"}, "")
		return out
	}
	for path, want := range map[string]string{
		"/run/lock/b": "<nil>", "/new/deep/b": "<nil>", "/run/vol/b": "<nil>", "/run/vol/cache/b": "<nil>", "/dev/shm/b": "<nil>",
		"/tmp/b": "read-only", "/etc/b": "read-only",
	} {
		if path == "/tmp/b" { // which the image does not have
			want = "no such file"
		}
		if out := guest("touch", path); !strings.Contains(out, want) {
			t.Errorf("touch %s: %q, want %q", path, out, want)
		}
	}
	root := fmt.Sprintf("/proc/%d/root", c.Pid())
	var st unix.Stat_t
	if err := unix.Stat(root+"/run/lock", &st); err != nil || st.Mode != unix.S_IFDIR|0o2775 || st.Uid%65536 != 1000 || st.Gid%65536 != 1001 {
		t.Errorf("/run/lock: %v, mode %o, %d:%d", err, st.Mode, st.Uid, st.Gid)
	}
	if to, err := os.Readlink(root + "/run/lock/away"); err != nil || to != "/etc/passwd" {
		t.Errorf("/run/lock/away: %q %v", to, err)
	}
	if _, err := os.Lstat(root + "/run/vol/cache/old"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a volume's files were copied into memory: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(lock, "b")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the image was written to: %v", err)
	}
	for line := range strings.Lines(guest("cat", "/proc/self/mountinfo")) {
		if strings.Contains(line, "fcnode-tmpfs") && (!strings.Contains(line, "nosuid,nodev") || strings.Contains(line, "/new/deep") != strings.Contains(line, "noexec")) {
			t.Errorf("mounted as %s", line)
		}
	}
}

// TestRootInMemoryByLink: a link in the image that makes a folder in memory the root is refused before anything is copied, and what is mounted where a link leads
// to is not copied into memory.
func TestRootInMemoryByLink(t *testing.T) {
	e := newEnv(t)
	vol := t.TempDir()
	e.file("opt/kept", "x", 0o644)
	err := errors.Join(os.Symlink("/", filepath.Join(e.lower, "top")), os.Symlink("opt", filepath.Join(e.lower, "link")),
		os.Mkdir(filepath.Join(e.lower, "opt/vol"), 0o755), os.WriteFile(vol+"/large", make([]byte, 1<<20), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	spec := e.spec("sleep")
	spec.Mounts = []Mount{{Tmpfs: true, Target: "/top", Size: 64 << 10}} // less than the root has
	e.notStarted(spec, ErrMount, "a symbolic link makes it the root itself")

	spec = e.spec("sleep")
	spec.Mounts = []Mount{{Source: vol, Target: "/opt/vol"}, {Tmpfs: true, Target: "/link", Size: 64 << 10}}
	c := e.start(spec)
	e.saw(spec, "sleeping")
	root := fmt.Sprintf("/proc/%d/root", c.Pid())
	if _, err := os.Lstat(root + "/opt/kept"); err != nil {
		t.Errorf("the image's file was not copied: %v", err)
	}
	if _, err := os.Lstat(root + "/opt/vol/large"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a volume's files were copied into memory: %v", err)
	}
}
