package netctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/fcnode/fcnode/runtime/thread"
	"golang.org/x/sys/unix"
)

// inMountNS runs f in the mount namespace; nil means the caller's.
func inMountNS(mnt *os.File, f func() error) error {
	if mnt == nil {
		return f()
	}
	return thread.Throwaway(func() error {
		// Threads share their root and working directory, which a change of
		// mount namespace resets: first have them for this thread alone.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("prepare to enter mount namespace %s: %w", mnt.Name(), err)
		}
		if err := unix.Setns(int(mnt.Fd()), unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("enter mount namespace %s: %w", mnt.Name(), err)
		}
		return f()
	})
}

// pinNetns makes a namespace live as long as the mount at path.
func pinNetns(ns *os.File, path string, mnt *os.File) error {
	return inMountNS(mnt, func() error {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return fmt.Errorf("make the run directory: %w", err)
		}
		f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o444)
		if err != nil {
			return fmt.Errorf("make the place for the sink's namespace: %w", err)
		}
		f.Close()
		source := fmt.Sprintf("/proc/thread-self/fd/%d", ns.Fd())
		if err := unix.Mount(source, path, "", unix.MS_BIND, ""); err != nil {
			return errors.Join(fmt.Errorf("mount the sink's namespace at %s: %w", path, err), os.Remove(path))
		}
		// Or copies of the mount in other mount namespaces would keep it alive.
		if err := unix.Mount("", path, "", unix.MS_PRIVATE, ""); err != nil {
			return errors.Join(fmt.Errorf("make the mount at %s private: %w", path, err), unmount(path))
		}
		return nil
	})
}

// openPinned opens the namespace at path; nil without an error if there is
// none.
func openPinned(path string, mnt *os.File) (ns *os.File, err error) {
	err = inMountNS(mnt, func() error {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("open the sink's namespace: %w", err)
		}
		var st unix.Statfs_t
		if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
			f.Close()
			return fmt.Errorf("look at %s: %w", path, err)
		}
		if st.Type != unix.NSFS_MAGIC {
			return f.Close() // the place without its mount
		}
		ns = f
		return nil
	})
	return ns, err
}

// unpinNetns lets the namespace at path end. A mount namespace that was copied
// from mnt, like a daemon's own, has a copy of the mount, which goes too.
func unpinNetns(path string, mnt *os.File) error {
	err := inMountNS(mnt, func() error { return unmount(path) })
	if mnt != nil {
		err = errors.Join(err, unmount(path))
	}
	return err
}

// unmount takes away all that is mounted at path, and the file below.
func unmount(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break // not mounted (any more)
		}
		if err != nil {
			return fmt.Errorf("unmount the sink's namespace from %s: %w", path, err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the place of the sink's namespace: %w", err)
	}
	return nil
}
