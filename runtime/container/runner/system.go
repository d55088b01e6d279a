//go:build linux

package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"golang.org/x/sys/unix"
)

// maskPaths are hidden: they tell of the machine, or let it be disturbed.
var maskPaths = []string{
	"proc/asound", "proc/acpi", "proc/interrupts", "proc/kcore", "proc/keys",
	"proc/latency_stats", "proc/sched_debug", "proc/scsi", "proc/timer_list", "proc/timer_stats",
}

// maskSysPaths are those below /sys, which is mounted later.
var maskSysPaths = []string{"sys/devices/virtual/powercap", "sys/firmware"}

// readonlyPaths are there to be read.
var readonlyPaths = []string{"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"}

// devices are the nodes in /dev, by major and minor number.
var devices = []struct {
	name         string
	major, minor uint32
}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}}

var devLinks = [][2]string{
	{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"},
	{"/proc/self/fd/2", "stderr"}, {"/proc/kcore", "core"}, {"pts/ptmx", "ptmx"},
}

// quiet are the flags of a mount that holds neither programs nor devices.
const quiet = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV

// systemDir is where the system's mounts are prepared, below the run dir. Each
// init has mounts of its own there, in its own mount namespace.
func systemDir(runDir string) string { return filepath.Join(runDir, wire.SystemDir) }

// mountSystem mounts /proc and /dev of the container below dir: what libcontainer
// would do for each start, step by step and by careful path lookups in a root
// file system that may be hostile. Here there is no such thing yet.
func mountSystem(dir string) error {
	p := func(name string) string { return filepath.Join(dir, name) }
	mounts := []struct {
		fstype, target string
		flags          uintptr
		data           string
	}{
		{"proc", "proc", quiet, ""},
		{"tmpfs", "dev", unix.MS_NOSUID | unix.MS_STRICTATIME, "mode=755,size=65536k"},
		{"devpts", "dev/pts", unix.MS_NOSUID | unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"},
		{"tmpfs", "dev/shm", quiet, "mode=1777,size=65536k"},
		{"mqueue", "dev/mqueue", quiet, ""},
	}
	for _, m := range mounts {
		if err := os.Mkdir(p(m.target), 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("making /%s of the container: %w", m.target, err)
		}
		if err := unix.Mount(m.fstype, p(m.target), m.fstype, m.flags, m.data); err != nil {
			return fmt.Errorf("mounting /%s of the container: %w", m.target, err)
		}
	}
	if err := fillDev(p("dev")); err != nil {
		return err
	}
	for _, name := range readonlyPaths {
		if err := readonly(p(name)); err != nil {
			return err
		}
	}
	return mask(dir, maskPaths)
}

func fillDev(dev string) error {
	old := unix.Umask(0)
	defer unix.Umask(old)
	for _, d := range devices {
		path := filepath.Join(dev, d.name)
		if err := unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(d.major, d.minor))); err != nil {
			return fmt.Errorf("making /dev/%s of the container: %w", d.name, err)
		}
	}
	for _, l := range devLinks {
		if err := os.Symlink(l[0], filepath.Join(dev, l[1])); err != nil {
			return fmt.Errorf("making /dev/%s of the container: %w", l[1], err)
		}
	}
	return ownNull(filepath.Join(dev, "null"))
}

// ownNull replaces what is the machine's /dev/null among the standard streams
// by the container's: a program could change the permissions of the other.
func ownNull(path string) error {
	null, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("opening /dev/null of the container: %w", err)
	}
	defer null.Close() // a device
	for fd := range 3 {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return fmt.Errorf("looking at standard stream %d: %w", fd, err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(1, 3) {
			continue
		}
		if err := unix.Dup3(int(null.Fd()), fd, 0); err != nil {
			return fmt.Errorf("replacing standard stream %d: %w", fd, err)
		}
	}
	return nil
}

// mountSys mounts /sys of the container, which shows the network namespace and
// the cgroup namespace that init is in.
func mountSys(dir string) error {
	sys := filepath.Join(dir, "sys")
	if err := unix.Mount("sysfs", sys, "sysfs", quiet|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("mounting /sys of the container: %w", err)
	}
	cgroup := filepath.Join(sys, "fs/cgroup")
	if err := unix.Mount("cgroup2", cgroup, "cgroup2", quiet|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("mounting /sys/fs/cgroup of the container: %w", err)
	}
	return mask(dir, maskSysPaths)
}

// moveInto moves the prepared /proc and /sys into the container's root, one
// step each; libcontainer takes seventy for a bind mount. A hostile image gains
// nothing: the mount point must be a folder right there, no link.
func moveInto(root *os.File, dir string) error {
	for _, name := range []string{"proc", "sys"} {
		point, err := openFolder(root, name)
		if err != nil {
			return fail(wire.KindRootfs, "/%s of the image has to be a folder: %w", name, err)
		}
		err = unix.MoveMount(unix.AT_FDCWD, filepath.Join(dir, name), point, "", unix.MOVE_MOUNT_T_EMPTY_PATH)
		_ = unix.Close(point) // a path descriptor
		if err != nil {
			return fmt.Errorf("mounting /%s of the container: %w", name, err)
		}
	}
	return nil
}

// openFolder opens a folder in the root, and makes it if need be.
func openFolder(root *os.File, name string) (int, error) {
	open := func() (int, error) {
		return unix.Openat2(int(root.Fd()), name, &unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
		})
	}
	fd, err := open()
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	if err := unix.Mkdirat(int(root.Fd()), name, 0o755); err != nil {
		return -1, err
	}
	return open()
}

// readonly makes a path read-only by a mount; one that is not there is fine.
func readonly(path string) error {
	err := unix.Mount(path, path, "", unix.MS_BIND|unix.MS_REC, "")
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err == nil {
		err = unix.Mount("", path, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|quiet, "")
	}
	if err != nil {
		return fmt.Errorf("making %s read-only: %w", path, err)
	}
	return nil
}

// mask hides files behind the container's /dev/null and folders behind an empty
// file system.
func mask(dir string, names []string) error {
	null := filepath.Join(dir, "dev/null")
	for _, name := range names {
		path := filepath.Join(dir, name)
		var st unix.Stat_t
		err := unix.Lstat(path, &st)
		switch {
		case errors.Is(err, unix.ENOENT):
			continue
		case err != nil:
		case st.Mode&unix.S_IFMT == unix.S_IFDIR:
			err = unix.Mount("tmpfs", path, "tmpfs", unix.MS_RDONLY, "nr_blocks=1,nr_inodes=1")
		default:
			err = unix.Mount(null, path, "", unix.MS_BIND, "")
		}
		if err != nil {
			return fmt.Errorf("hiding /%s from the container: %w", name, err)
		}
	}
	return nil
}
