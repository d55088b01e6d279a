package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// opaqueXattr marks a folder that hides the folder which it covers
// (overlayfs.rst).
const opaqueXattr = "trusted.overlay.opaque"

// whiteout hides name in dir, or, if name is empty, all that lower layers have
// in dir. dir is relative to the layer's root and had no symbolic links when
// the entry was met.
type whiteout struct {
	dir, name string
}

// placeWhiteouts translates the layer's whiteouts for overlayfs. They come
// after all other entries because a whiteout hides what is in lower layers
// only, wherever in the tar it stands. By then any folder may have been
// replaced by a symbolic link out of the layer, so none is followed.
func (a *applier) placeWhiteouts() error {
	if len(a.whiteouts) == 0 {
		return nil
	}
	root, err := unix.Open(a.root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: a.root, Err: err}
	}
	defer unix.Close(root)
	// Opaque folders first: whether there is anything left to hide depends on
	// them.
	for _, step := range []func(int, whiteout) error{a.placeOpaque, a.placeFile} {
		for _, w := range a.whiteouts {
			if err := step(root, w); err != nil {
				return fmt.Errorf("%q in folder %q: %w", w.name, w.dir, err)
			}
		}
	}
	return nil
}

// openFolder opens a folder of the layer. There is none if it is something else
// by now; that hides all that lower layers have there.
func openFolder(root int, dir string) (fd int, ok bool, err error) {
	fd, err = unix.Openat2(root, dir, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return -1, false, nil
	case err != nil:
		return -1, false, fmt.Errorf("open the folder: %w", err)
	}
	return fd, true, nil
}

// placeOpaque marks a folder that is opaque, or that replaces one which the
// layer removes.
func (a *applier) placeOpaque(root int, w whiteout) error {
	dir, ok, err := openFolder(root, filepath.Join(w.dir, w.name))
	if err != nil || !ok {
		return err
	}
	defer unix.Close(dir)
	return makeOpaque(dir)
}

// placeFile makes the character device that hides a file, if there is one to
// hide: in a folder that covers none of a lower layer overlayfs would list the
// device itself.
func (a *applier) placeFile(root int, w whiteout) error {
	if w.name == "" {
		return nil
	}
	dir, ok, err := openFolder(root, w.dir)
	if err != nil || !ok {
		return err
	}
	defer unix.Close(dir)
	path := filepath.Join(w.dir, w.name)
	if _, copied := a.copied[path]; copied {
		// It is only here because a hard link of this layer needed its content.
		if err := keepingTimes(dir, func() error { return unix.Unlinkat(dir, w.name, 0) }); err != nil {
			return err
		}
		delete(a.copied, path)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(dir, w.name, &st, unix.AT_SYMLINK_NOFOLLOW); !errors.Is(err, unix.ENOENT) {
		return err // none: the layer replaces what it removes, or removes it twice
	}
	if _, hides, err := append(merged{a.root}, a.below...).lookup(path); err != nil || !hides {
		return err
	}
	return keepingTimes(dir, func() error { return unix.Mknodat(dir, w.name, unix.S_IFCHR, 0) })
}

func makeOpaque(dir int) error {
	err := unix.Fsetxattr(dir, opaqueXattr, []byte("y"), 0)
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("set %s takes CAP_SYS_ADMIN: %w", opaqueXattr, err)
	}
	return err
}

// keepingTimes keeps the times of a folder, which are those of the image, while
// change changes it.
func keepingTimes(dir int, change func() error) error {
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", dir), []unix.Timespec{st.Atim, st.Mtim}, 0)
}

// isOpaque tells whether a folder hides what it covers.
func isOpaque(path string) (bool, error) {
	var value [1]byte
	n, err := unix.Lgetxattr(path, opaqueXattr, value[:])
	switch {
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP):
		return false, nil
	case err != nil:
		return false, &os.PathError{Op: "getxattr", Path: path, Err: err}
	}
	return n == 1 && value[0] == 'y', nil
}

// isWhiteout tells whether a file is overlayfs's mark for a deleted one.
func isWhiteout(fi os.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && fi.Mode()&os.ModeCharDevice != 0 && st.Rdev == 0
}
