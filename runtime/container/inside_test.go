package container

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// defaultCaps is the mask of defaultPrivileges.
const defaultCaps = "00000000000405fb"

// fields reads "Name:\tvalue" lines.
func fields(text string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			m[name] = strings.TrimSpace(value)
		}
	}
	return m
}

func TestRootPrivileges(t *testing.T) {
	e := newEnv(t)
	for _, tt := range []struct {
		user, effective string
	}{{"", defaultCaps}, {"web", "0000000000000000"}} {
		spec := e.spec("status")
		spec.User = tt.user
		_, out := e.run(spec)
		got := fields(out)
		for name, want := range map[string]string{
			"CapEff": tt.effective, "CapPrm": tt.effective, "CapBnd": defaultCaps, "CapInh": "0000000000000000",
			"CapAmb": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2", "Pid": "1",
		} {
			if got[name] != want {
				t.Errorf("user %q: %s is %q, want %q", tt.user, name, got[name], want)
			}
		}
	}
}

// TestRootSeccomp: what the profile does not allow gets EPERM, what is too new
// for it ENOSYS, from the main thread and from others.
func TestRootSeccomp(t *testing.T) {
	e := newEnv(t)
	for number, want := range map[int]unix.Errno{
		unix.SYS_SWAPON: unix.EPERM, unix.SYS_KEXEC_LOAD: unix.EPERM, unix.SYS_UNSHARE: unix.EPERM, unix.SYS_IO_URING_SETUP: unix.EPERM, unix.SYS_GETUID: 0, 1023: unix.ENOSYS,
	} {
		_, out := e.run(e.spec("syscall", strconv.Itoa(number)))
		if got := strings.TrimSpace(out); got != fmt.Sprintf("errno %d", want) {
			t.Errorf("system call %d: %q, want %d", number, got, want)
		}
	}
}

func TestRootUser(t *testing.T) {
	e := newEnv(t)
	for user, want := range map[string]string{
		"": "0 0 []", "web": "1000 1001 [1002]", "1000": "1000 1001 [1002]", "web:extra": "1000 1002 [1002]", "7:8": "7 8 []", "web:root": "1000 0 [0]",
	} {
		spec := e.spec("id")
		spec.User = user
		_, out := e.run(spec)
		// The kernel lists the group itself among the groups where it was set.
		if got := strings.TrimSpace(out); got != want && !strings.HasPrefix(got, want[:strings.Index(want, "[")]) {
			t.Errorf("user %q is %q, want %q", user, got, want)
		}
	}
}

func TestRootFiles(t *testing.T) {
	e := newEnv(t)
	e.file("etc/hosts", "10.0.0.1 image\n", 0o644)
	e.file("etc/resolv.conf", "nameserver 10.0.0.1\n", 0o644)
	spec := e.spec("cat", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/etc/passwd")
	_, out := e.run(spec)
	want := spec.Hosts + spec.ResolvConf + spec.Hostname + "\nroot:x:0:0"
	if !strings.HasPrefix(out, want) {
		t.Errorf("files %q, want %q…", out, want)
	}
	spec = e.spec("cat", "/etc/hosts", "/etc/resolv.conf")
	spec.Hosts, spec.ResolvConf = "", ""
	if _, out := e.run(spec); out != "10.0.0.1 image\nnameserver 10.0.0.1\n" {
		t.Errorf("files %q, want those of the image", out)
	}
	spec = e.spec("hostname")
	if _, out := e.run(spec); strings.TrimSpace(out) != spec.Hostname {
		t.Errorf("host name %q, want %q", out, spec.Hostname)
	}
	spec = e.spec("env")
	spec.Env, spec.User = []string{"A=1", "B=two words"}, "web"
	if _, out := e.run(spec); !strings.Contains(out, "A=1\n") || !strings.Contains(out, "B=two words\n") ||
		!strings.Contains(out, "PATH=/usr/local/sbin:") || !strings.Contains(out, "HOME=/home/web\n") || strings.Contains(out, "LIBCONTAINER") {
		t.Errorf("environment %q", out)
	}
	spec = e.spec("cwd")
	spec.Cwd = "/srv/made/ahead"
	if _, out := e.run(spec); strings.TrimSpace(out) != spec.Cwd {
		t.Errorf("working folder %q, want %q", out, spec.Cwd)
	}
}

func TestRootRootIsPrivate(t *testing.T) {
	e := newEnv(t)
	if _, out := e.run(e.spec("write", "/etc/passwd", "changed")); strings.TrimSpace(out) != "written" {
		t.Errorf("writing to the root: %q", out)
	}
	if b, err := os.ReadFile(filepath.Join(e.lower, "etc/passwd")); err != nil || strings.Contains(string(b), "changed") {
		t.Errorf("the image was changed: %q %v", b, err)
	}
	spec := e.spec("touch", "/new", "/etc/new", "/dev/shm/new")
	spec.ReadOnlyRoot = true
	_, out := e.run(spec)
	if !strings.Contains(out, "/new open /new: read-only file system") || !strings.Contains(out, "/dev/shm/new <nil>") {
		t.Errorf("read-only root: %q", out)
	}
}

func TestRootVolumes(t *testing.T) {
	e := newEnv(t)
	rw, ro := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(ro, "file"), []byte("read me\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	spec := e.spec("touch", "/data/file", "/data/ro/file")
	spec.Mounts = []Mount{{Source: rw, Target: "/data"}, {Source: ro, Target: "/data/ro", ReadOnly: true}}
	_, out := e.run(spec)
	if !strings.Contains(out, "/data/file <nil>") || !strings.Contains(out, "read-only file system") {
		t.Errorf("volumes: %q", out)
	}
	if _, err := os.Stat(filepath.Join(rw, "file")); err != nil {
		t.Errorf("nothing written: %v", err)
	}
	// A program that is on a volume.
	spec = e.spec("echo", "from the volume")
	spec.Mounts = []Mount{{Source: filepath.Join(e.lower, "bin"), Target: "/opt", ReadOnly: true}}
	spec.Args[0] = "/opt/guest"
	if _, out := e.run(spec); strings.TrimSpace(out) != "from the volume" {
		t.Errorf("program on a volume: %q", out)
	}
}

// TestRootHostileImage: an image whose folders are links does not get mounts,
// or files, outside of its root.
func TestRootHostileImage(t *testing.T) {
	e := newEnv(t)
	outside := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(e.lower, "data")); err != nil {
		t.Fatal(err)
	}
	spec := e.spec("echo", "fine")
	spec.Mounts = []Mount{{Source: t.TempDir(), Target: "/data/deep"}}
	if _, out := e.run(spec); strings.TrimSpace(out) != "fine" {
		t.Errorf("output %q", out)
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("made outside of the image: %v %v", left, err)
	}
	link := e.lower + "-etc"
	if err := os.MkdirAll(link, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(link, "etc")); err != nil {
		t.Fatal(err)
	}
	spec = e.spec("echo", "fine")
	spec.Lower = []string{link, e.lower}
	if _, out := e.run(spec); strings.TrimSpace(out) != "fine" {
		t.Errorf("output %q", out)
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("made outside of the image: %v %v", left, err)
	}
}

func TestRootSystemMounts(t *testing.T) {
	e := newEnv(t)
	_, out := e.run(e.spec("open", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/dev/zero", "/dev/urandom"))
	for _, want := range []string{"/proc/keys 0 EOF", "/dev/zero 1 <nil>", "/dev/urandom 1 <nil>"} {
		if !strings.Contains(out, want) {
			t.Errorf("opening: no %q in %q", want, out)
		}
	}
	for _, hidden := range []string{"/proc/kcore", "/proc/timer_list"} {
		if strings.Contains(out, hidden+" 1") {
			t.Errorf("%s can be read", hidden)
		}
	}
	_, out = e.run(e.spec("touch", "/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/sys/fs/cgroup/cgroup.procs", "/dev/null"))
	if n := strings.Count(out, "read-only file system"); n < 2 || !strings.Contains(out, "/dev/null <nil>") {
		t.Errorf("writing: %q", out)
	}
	_, out = e.run(e.spec("list", "/sys/firmware", "/sys/class/net", "/proc/acpi"))
	if !strings.Contains(out, "/sys/firmware 0 ") || !strings.Contains(out, "/sys/class/net 1 <nil>") {
		t.Errorf("folders: %q", out)
	}
	_, out = e.run(e.spec("cat", "/proc/self/cgroup", "/proc/sys/net/ipv4/ip_unprivileged_port_start"))
	if !strings.Contains(out, "0::/\n") || !strings.HasSuffix(out, "\n0\n") {
		t.Errorf("cgroup and ports: %q", out)
	}
}

// TestRootMounts: nothing of the machine's mounts is left in the container.
func TestRootMounts(t *testing.T) {
	e := newEnv(t)
	_, out := e.run(e.spec("mounts"))
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if target := f[4]; target != "/" && !strings.HasPrefix(target, "/proc") && !strings.HasPrefix(target, "/dev") && !strings.HasPrefix(target, "/sys") {
			t.Errorf("mount %s", line)
		}
		if strings.Contains(line, "shared:") {
			t.Errorf("a mount that others see: %s", line)
		}
	}
}

// TestRootDevices: nodes can be made, and do not work.
func TestRootDevices(t *testing.T) {
	e := newEnv(t)
	_, out := e.run(e.spec("mknod", "/disk", "254"))
	if !strings.Contains(out, "made operation not permitted") {
		t.Errorf("a disk's node without CAP_MKNOD: %q", out)
	}
	spec := e.spec("mknod", "/disk", "254")
	spec.Privileges.Capabilities = append([]string{"CAP_MKNOD"}, spec.Privileges.Capabilities...)
	_, out = e.run(spec)
	if !strings.Contains(out, "made <nil>") || !strings.Contains(out, "opened open /disk: permission denied") { // nodev
		t.Errorf("a disk's node: %q", out)
	}
	onVolume := e.spec("mknod", "/data/disk", "254")
	onVolume.Privileges = spec.Privileges
	onVolume.Mounts = []Mount{{Source: t.TempDir(), Target: "/data", Dev: true}}
	if _, out := e.run(onVolume); !strings.Contains(out, "opened open /data/disk: operation not permitted") { // the cgroup's filter
		t.Errorf("a disk's node where nodes work: %q", out)
	}
	// The standard streams are not the machine's /dev/null.
	var host unix.Stat_t
	if err := unix.Stat("/dev/null", &host); err != nil {
		t.Fatal(err)
	}
	spec = e.spec("sleep")
	c := e.start(spec)
	e.saw(spec, "sleeping") // executed, not only let go
	var st unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/fd/0", c.Pid()), &st); err != nil {
		t.Fatal(err)
	}
	if st.Dev == host.Dev && st.Ino == host.Ino {
		t.Error("standard input is the machine's /dev/null")
	}
	// And there is no other descriptor.
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		target, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", c.Pid(), fd.Name()))
		// Go's runtime itself has an epoll descriptor, and reads the CPU limit where there is one.
		own := strings.HasPrefix(target, "anon_inode:") || strings.HasPrefix(target, "/sys/fs/cgroup/cpu.")
		if n, _ := strconv.Atoi(fd.Name()); n > 2 && !own {
			t.Errorf("descriptor %s is %s", fd.Name(), target)
		}
	}
}
