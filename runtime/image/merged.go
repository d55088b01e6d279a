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

// maxLinks bounds the symbolic links in one path, as the kernel does (path_resolution(7)).
const maxLinks = 40

// merged looks files up in unpacked layers, the top one first, as overlayfs would show
// them. It does not mount them: that takes rights that unpacking does not need,
// and fsconfig(2) takes no long lists of layers before Linux 6.5.
type merged []string

// mergedFile is a file of the merged view.
type mergedFile struct {
	name string // in the merged view: relative, without symbolic links but itself
	path string // in its layer
	info os.FileInfo
}

// find looks name up, relative to the root, following the symbolic links on
// the way (as chroot would) but not the last component.
func (m merged) find(name string) (mergedFile, bool, error) {
	rest := components(name)
	var at []string
	links := 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		if part == ".." {
			at = at[:max(0, len(at)-1)]
			continue
		}
		f, ok, err := m.lookup(filepath.Join(append(at, part)...))
		if err != nil || !ok || len(rest) == 0 {
			return f, ok, err
		}
		switch {
		case f.info.Mode()&os.ModeSymlink != 0:
			if links++; links > maxLinks {
				return mergedFile{}, false, fmt.Errorf("%w: symbolic links go in a circle at %q", ErrCorrupt, name)
			}
			target, err := os.Readlink(f.path)
			if err != nil {
				return mergedFile{}, false, err
			}
			if filepath.IsAbs(target) {
				at = nil
			}
			rest = append(components(target), rest...)
		case f.info.IsDir():
			at = append(at, part)
		default:
			return mergedFile{}, false, nil
		}
	}
	return mergedFile{}, false, nil // the root itself, which no caller wants
}

// components splits a path without the parts that mean nothing. ".." stays: what it means
// depends on symbolic links.
func components(name string) []string {
	var parts []string
	for p := range strings.SplitSeq(name, "/") {
		if p != "" && p != "." {
			parts = append(parts, p)
		}
	}
	return parts
}

// lookup finds name, in which no folder is a symbolic link.
func (m merged) lookup(name string) (mergedFile, bool, error) {
	for _, layer := range m {
		fi, ends, err := lookupLayer(layer, name)
		if err != nil {
			return mergedFile{}, false, err
		}
		if fi != nil {
			return mergedFile{name: name, path: filepath.Join(layer, name), info: fi}, true, nil
		}
		if ends {
			break
		}
	}
	return mergedFile{}, false, nil
}

// lookupLayer finds name in one layer. ends tells that this layer hides name in those below.
func lookupLayer(layer, name string) (fi os.FileInfo, ends bool, err error) {
	parts := components(name)
	path := layer
	for i, part := range parts {
		opaque, err := isOpaque(path)
		if err != nil {
			return nil, false, err
		}
		ends = ends || opaque
		path = filepath.Join(path, part)
		fi, err := os.Lstat(path)
		switch {
		case errors.Is(err, iofs.ErrNotExist):
			return nil, ends, nil
		case err != nil:
			return nil, false, err
		case isWhiteout(fi):
			return nil, true, nil
		case i == len(parts)-1:
			return fi, true, nil
		case !fi.IsDir():
			return nil, true, nil
		}
	}
	return nil, true, nil
}

// linkFromBelow prepares a hard link to a file that only a lower layer has: it is copied up into
// this one, under its own name, as the kernel's overlayfs does when such a link is made.
func (a *applier) linkFromBelow(hdr *tar.Header) error {
	target := filepath.Clean("/" + hdr.Linkname)
	dir, base := filepath.Split(target)
	if dir, err := fs.RootPath(a.root, dir); err == nil {
		if exists, err := isThere(filepath.Join(dir, base)); exists || err != nil {
			return err
		}
	}
	found, ok, err := a.below.find(target)
	if err != nil {
		return err
	}
	if !ok || found.info.IsDir() {
		return fmt.Errorf("%w: entry %q is a hard link to %q, which is no file of this layer or one below", ErrCorrupt, hdr.Name, hdr.Linkname)
	}
	if err := a.ensureParents(filepath.Dir(found.name)); err != nil {
		return err
	}
	if dir, err = fs.RootPath(a.root, filepath.Dir(found.name)); err != nil {
		return err
	}
	to := filepath.Join(dir, filepath.Base(found.name))
	if exists, err := isThere(to); err != nil {
		return err
	} else if !exists {
		if err := copyUp(to, found); err != nil {
			return fmt.Errorf("copying %q of a lower layer for a hard link: %w", found.name, classify(err))
		}
	}
	rel, err := filepath.Rel(a.root, to)
	if err != nil {
		return err
	}
	a.copied[rel] = struct{}{}
	hdr.Linkname = rel
	return nil
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

// copyAttributes gives to the owner, mode and xattrs of a file of a lower layer. Overlayfs's own xattrs
// (trusted.*) belong to the layer that has them.
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
		return fmt.Errorf("listing xattrs of %s: %w", f.path, err)
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
			return fmt.Errorf("copying xattr %s of %s: %w", n, f.path, err)
		}
	}
	return nil
}
