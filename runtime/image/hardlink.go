package image

import (
	"archive/tar"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/containerd/continuity/fs"
	"github.com/containerd/continuity/sysx"
	"golang.org/x/sys/unix"
)

// link makes the hard link hdr at path (already inside of the root). Unlike
// containerd's archive package it sets no attributes: they are the file's, and
// setting the owner once more would drop its capabilities.
func (a *applier) link(hdr *tar.Header, path string) error {
	target, err := a.linkTarget(hdr)
	if err != nil {
		return err
	}
	if target == path {
		return nil
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return os.Link(target, path) // of a symbolic link itself, not of what it names
}

// linkTarget finds the file that a hard link names. If only a lower layer has
// it, it is copied up into this one, under its own name, as the kernel's
// overlayfs does when such a link is made.
func (a *applier) linkTarget(hdr *tar.Header) (string, error) {
	noFile := fmt.Errorf("%w: entry %q is a hard link to %q, which is no file of this layer or one below", ErrCorrupt, hdr.Name, hdr.Linkname)
	name := filepath.Clean("/" + hdr.Linkname)
	if dir, err := fs.RootPath(a.root, filepath.Dir(name)); err == nil {
		target := filepath.Join(dir, filepath.Base(name))
		switch fi, err := os.Lstat(target); {
		case err == nil && (fi.IsDir() || name == "/"):
			return "", noFile
		case err == nil:
			return target, nil
		case !errors.Is(err, iofs.ErrNotExist):
			return "", err
		}
	}
	found, ok, err := a.below.find(name)
	if err != nil {
		return "", err
	}
	if !ok || found.info.IsDir() {
		return "", noFile
	}
	return a.bringUp(found)
}

// bringUp copies a file of a lower layer into this one, if that was not done
// yet, and returns its path.
func (a *applier) bringUp(found mergedFile) (string, error) {
	if err := a.ensureParents(filepath.Dir(found.name)); err != nil {
		return "", err
	}
	dir, err := fs.RootPath(a.root, filepath.Dir(found.name))
	if err != nil {
		return "", err
	}
	to := filepath.Join(dir, filepath.Base(found.name))
	if exists, err := isThere(to); exists || err != nil {
		return to, err
	}
	if err := a.most.take(found.info.Size()); err != nil {
		return "", err
	}
	if err := copyUp(to, found); err != nil {
		return "", fmt.Errorf("copy %q of a lower layer for a hard link: %w", found.name, classify(err))
	}
	rel, err := filepath.Rel(a.root, to)
	if err != nil {
		return "", err
	}
	a.copied[rel] = struct{}{}
	return to, nil
}

// copyUp copies a file of a lower layer with all of its attributes.
func copyUp(to string, f mergedFile) error {
	switch {
	case f.info.Mode().IsRegular():
		if err := fs.CopyFile(to, f.path); err != nil {
			return err
		}
	case f.info.Mode()&os.ModeSymlink != 0:
		target, err := os.Readlink(f.path)
		if err != nil {
			return err
		}
		if err := os.Symlink(target, to); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%w: hard link to a %v of a lower layer", ErrUnsupported, f.info.Mode().Type())
	}
	if err := copyAttributes(to, f); err != nil {
		return err
	}
	st := f.info.Sys().(*syscall.Stat_t)
	times := []unix.Timespec{unix.Timespec(st.Atim), unix.Timespec(st.Mtim)}
	return unix.UtimesNanoAt(unix.AT_FDCWD, to, times, unix.AT_SYMLINK_NOFOLLOW)
}

// copyAttributes gives to the owner, mode and xattrs of a file of a lower
// layer. Overlayfs's own xattrs (trusted.*) belong to the layer that has them.
func copyAttributes(to string, f mergedFile) error {
	st := f.info.Sys().(*syscall.Stat_t)
	if os.Geteuid() == 0 {
		if err := os.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	if f.info.Mode()&os.ModeSymlink == 0 {
		if err := os.Chmod(to, f.info.Mode()); err != nil {
			return err
		}
	}
	names, err := sysx.LListxattr(f.path)
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		return fmt.Errorf("list xattrs of %s: %w", f.path, err)
	}
	for _, n := range names {
		if strings.HasPrefix(n, "trusted.") {
			continue
		}
		value, err := sysx.LGetxattr(f.path, n)
		if err == nil {
			err = sysx.LSetxattr(to, n, value, 0)
		}
		if err != nil {
			return fmt.Errorf("copy xattr %s of %s: %w", n, f.path, err)
		}
	}
	return nil
}
