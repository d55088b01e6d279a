package mounts

import (
	"fmt"
	"os"
	"strconv"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"golang.org/x/sys/unix"
)

// TmpfsSource is what a container's folders in memory are mounted from: what the
// list of mounts shows, and by which they are told from volumes.
const TmpfsSource = "fcnode-tmpfs"

// Tmpfs makes a folder in memory, of whose mount nobody knows yet.
func Tmpfs(m wire.Mount) (*os.File, error) {
	attributes := unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	if m.NoExec {
		attributes |= unix.MOUNT_ATTR_NOEXEC
	}
	options := []string{"source=" + TmpfsSource, "mode=1777"}
	if m.Size != 0 {
		options = append(options, "size="+strconv.FormatInt(m.Size, 10))
	}
	return newMount("tmpfs", attributes, options...)
}

// ResizeShm gives /dev/shm of a container, which is mounted at shm, another size.
func ResizeShm(shm string, size int64) error {
	if size == 0 {
		return nil
	}
	if err := unix.Mount("", shm, "", unix.MS_REMOUNT|Quiet, "size="+strconv.FormatInt(size, 10)); err != nil {
		return fmt.Errorf("giving /dev/shm of the container %d bytes: %w", size, err)
	}
	return nil
}
