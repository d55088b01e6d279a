// Package pagecache takes files out of the kernel's page cache, for what measures how fast things are without it.
package pagecache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Drop takes the files of folders out of the page cache, but for those that somebody has mapped. Folders that are not there are none.
// why is not empty where more than a twentieth of their bytes stay there; before Linux 6.5 (cachestat) that is not known.
func Drop(dirs ...string) (why string, err error) {
	var all, kept int64
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			size, in, err := drop(path)
			all, kept = all+size, kept+in
			return err
		})
		if err != nil {
			return "", err
		}
	}
	if kept > all/20 {
		return fmt.Sprintf("%d MB of %d MB stay in the page cache", kept/1e6, all/1e6), nil
	}
	return "", nil
}

// drop does so for one file, and tells its size and how much of it the page cache has kept, in bytes.
func drop(path string) (size, kept int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return 0, 0, fmt.Errorf("take %s out of the page cache: %w", path, err)
	}
	whole := struct{ off, size uint64 }{}
	var state struct{ cached, dirty, writeback, evicted, recently uint64 }
	_, _, errno := unix.Syscall6(unix.SYS_CACHESTAT, f.Fd(), uintptr(unsafe.Pointer(&whole)), uintptr(unsafe.Pointer(&state)), 0, 0, 0)
	if errno == unix.ENOSYS { // before Linux 6.5; it is believed
		return info.Size(), 0, nil
	}
	if errno != 0 {
		return 0, 0, fmt.Errorf("see how much of %s is in the page cache: %w", path, errno)
	}
	return info.Size(), int64(state.cached) * int64(os.Getpagesize()), nil
}
