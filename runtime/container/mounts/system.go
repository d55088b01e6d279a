package mounts

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maskPaths are hidden: they tell of the machine, or let it be disturbed.
var maskPaths = []string{
	"proc/asound", "proc/acpi", "proc/interrupts", "proc/kcore", "proc/keys",
	"proc/latency_stats", "proc/sched_debug", "proc/scsi", "proc/timer_list", "proc/timer_stats",
}

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

// Quiet are the flags of a mount that holds neither programs nor devices.
const Quiet = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV

// System mounts /proc and /dev of the container below dir: what libcontainer
// would do for each start, step by step and by careful path lookups in a root
// file system that may be hostile. Here there is no such thing yet. In a user
// namespace dev is what MappedSystem has made; else it is nil.
func System(dir string, dev *os.File) error {
	err := mountAll(dir, []mount{{"proc", "proc", Quiet, ""}})
	switch {
	case err != nil:
	case dev == nil:
		err = Dev(dir)
	default:
		err = devOf(dir, dev)
	}
	if err != nil {
		return err
	}
	for _, name := range readonlyPaths {
		if err := readonly(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return Mask(dir, maskPaths)
}

// Dev mounts /dev of the container below dir.
func Dev(dir string) error {
	err := mountAll(dir, []mount{{"tmpfs", "dev", unix.MS_NOSUID | unix.MS_STRICTATIME, "mode=755,size=65536k"}})
	if err == nil {
		err = mountAll(dir, inDev)
	}
	if err != nil {
		return err
	}
	return fillDev(filepath.Join(dir, "dev"))
}

// devOf is Dev with a file system that has its nodes already.
func devOf(dir string, dev *os.File) error {
	if err := MoveTo(dev, filepath.Join(dir, "dev")); err != nil {
		return fmt.Errorf("mounting /dev of the container: %w", err)
	}
	if err := mountAll(dir, inDev); err != nil {
		return err
	}
	return ownNull(filepath.Join(dir, "dev/null"))
}

// MappedDev mounts, below dir, the /dev that MappedSystem has made, from outside of
// the user namespace whose root is the machine's user root, and at shm what is to be its
// /dev/shm: nobody in that user namespace can take a mount without those that are in it.
func MappedDev(dir string, dev *os.File, shm string, root uint32) error {
	at := filepath.Join(dir, "dev")
	if err := MoveTo(dev, at); err != nil {
		return fmt.Errorf("mounting /dev of the container: %w", err)
	}
	for _, m := range inDev {
		place := filepath.Join(dir, m.target)
		if err := errors.Join(os.Mkdir(place, 0o755), os.Chown(place, int(root), int(root))); err != nil {
			return fmt.Errorf("making /%s of the container: %w", m.target, err)
		}
	}
	if err := unix.Mount("tmpfs", shm, "tmpfs", Quiet, fmt.Sprintf("mode=1777,size=65536k,uid=%d,gid=%d", root, root)); err != nil {
		return fmt.Errorf("mounting /dev/shm of the container: %w", err)
	}
	return ownNull(filepath.Join(at, "null"))
}

var inDev = []mount{
	{"devpts", "dev/pts", unix.MS_NOSUID | unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"},
	{"tmpfs", "dev/shm", Quiet, "mode=1777,size=65536k"},
	{"mqueue", "dev/mqueue", Quiet, ""},
}

type mount struct {
	fstype, target string
	flags          uintptr
	data           string
}

func mountAll(dir string, all []mount) error {
	for _, m := range all {
		target := filepath.Join(dir, m.target)
		if err := os.Mkdir(target, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("making /%s of the container: %w", m.target, err)
		}
		if err := unix.Mount(m.fstype, target, m.fstype, m.flags, m.data); err != nil {
			return fmt.Errorf("mounting /%s of the container: %w", m.target, err)
		}
	}
	return nil
}

// Empty mounts an empty folder that cannot be written to: what hides a folder. It is
// the machine's user owner's.
func Empty(target string, owner uint32) error {
	return unix.Mount("tmpfs", target, "tmpfs", unix.MS_RDONLY, fmt.Sprintf("nr_blocks=1,nr_inodes=1,uid=%d,gid=%d", owner, owner))
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

// readonly makes a path read-only by a mount; one that is not there is fine.
func readonly(path string) error {
	err := unix.Mount(path, path, "", unix.MS_BIND|unix.MS_REC, "")
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err == nil {
		err = unix.Mount("", path, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|Quiet, "")
	}
	if err != nil {
		return fmt.Errorf("making %s read-only: %w", path, err)
	}
	return nil
}

// Mask hides files behind the container's /dev/null and folders behind an empty
// file system.
func Mask(dir string, names []string) error {
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
			err = Empty(path, 0)
		default:
			err = unix.Mount(null, path, "", unix.MS_BIND, "")
		}
		if err != nil {
			return fmt.Errorf("hiding /%s from the container: %w", name, err)
		}
	}
	return nil
}
