package file

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Reserve gives a file the blocks that it needs until it has so many bytes, so that it
// can be written when the disk is full. Its size stays. Where that would take
// more than a quarter of what is free, or the file system cannot, nothing is done.
// (A file system that never writes to the same block twice, as btrfs, promises less.)
func Reserve(f *os.File, size int64) error {
	fd := int(f.Fd())
	var st unix.Stat_t
	var fs unix.Statfs_t
	if err := errors.Join(unix.Fstat(fd, &st), unix.Fstatfs(fd, &fs)); err != nil {
		return fmt.Errorf("reserve room for %s: %w", f.Name(), err)
	}
	missing := size - st.Blocks*512
	if missing <= 0 || missing > int64(fs.Bavail)*fs.Bsize/4 {
		return nil
	}
	err := unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, 0, size)
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("reserve room for %s: %w", f.Name(), err)
	}
	return nil
}
