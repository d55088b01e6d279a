package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fcnode/fcnode/runtime/container/mounts"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"golang.org/x/sys/unix"
)

// maskSysPaths are those below /sys, which is mounted later.
var maskSysPaths = []string{"sys/devices/virtual/powercap", "sys/firmware"}

// systemDir is where the system's mounts are prepared, below the run dir. Each
// init has mounts of its own there, in its own mount namespace.
func systemDir(runDir string) string { return filepath.Join(runDir, wire.SystemDir) }

// mountSys mounts /sys of the container, which shows the network namespace and
// the cgroup namespace that init is in. mapped is what mounts.MappedSystem has
// made, or nil.
func mountSys(dir string, mapped *os.File) (err error) {
	sys := filepath.Join(dir, "sys")
	if mapped == nil {
		err = unix.Mount("sysfs", sys, "sysfs", mounts.Quiet|unix.MS_RDONLY, "")
	} else {
		err = mounts.MoveTo(mapped, sys)
	}
	if err != nil {
		return fmt.Errorf("mounting /sys of the container: %w", err)
	}
	cgroup := filepath.Join(sys, "fs/cgroup")
	if err := unix.Mount("cgroup2", cgroup, "cgroup2", mounts.Quiet|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("mounting /sys/fs/cgroup of the container: %w", err)
	}
	return mounts.Mask(dir, maskSysPaths)
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
