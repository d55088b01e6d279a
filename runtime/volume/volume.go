package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrOutside means that a path is not below any of the node's volumeRoots.
var ErrOutside = errors.New("it is not below any of volumeRoots of the node's configuration")

// ErrLink means that a path leads over a symbolic link.
var ErrLink = errors.New("symbolic links are not followed, as their owner could lead them anywhere; give the path that is meant, or follow: true")

// ErrLeads means that a link that is followed does not lead to where it may.
var ErrLeads = errors.New("a source with follow: true may be a symbolic link to something below the folder that it is in, by a path without further links")

// Open opens a folder or file below one of the roots, as a path descriptor. It
// follows no symbolic link, neither in the path nor at its end.
func Open(roots []string, path string) (*os.File, error) { return open(roots, path, false, 0) }

// open does so, too; with follow the path itself may be a symbolic link, to
// something below the folder that the link is in.
func open(roots []string, path string, follow bool, resolve uint64) (*os.File, error) {
	root, err := Root(roots, path)
	if err != nil {
		return nil, err
	}
	if follow && path != root { // what lies beside a root is not the root's
		above, to, err := readLink(path, resolve)
		if err != nil {
			return nil, err
		}
		if to != "" {
			defer unix.Close(above)
			return openLinked(above, to, path, resolve|unix.RESOLVE_BENEATH)
		}
	}
	fd, err := openAny(unix.AT_FDCWD, path, resolve)
	if err != nil {
		return nil, explainUnless(resolve, path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// openAny opens what lies at a path. O_DIRECTORY makes the kernel mount what is
// mounted on demand.
func openAny(dir int, path string, resolve uint64) (int, error) {
	fd, err := openPath(dir, path, unix.O_DIRECTORY, resolve)
	if errors.Is(err, unix.ENOTDIR) {
		fd, err = openPath(dir, path, 0, resolve)
	}
	return fd, err
}

// readLink reads the symbolic link at a path: where it leads to, as seen from the
// folder that it is in, which is open then. "" is no link.
func readLink(path string, resolve uint64) (above int, to string, err error) {
	above, err = openPath(unix.AT_FDCWD, filepath.Dir(path), unix.O_DIRECTORY, resolve)
	if err != nil {
		return -1, "", explainUnless(resolve, path, err)
	}
	if resolve&resolveCached != 0 && mayWait(above) {
		_ = unix.Close(above) // a path descriptor
		return -1, "", unix.EAGAIN
	}
	buf := make([]byte, unix.PathMax)
	n, notLink := unix.Readlinkat(above, filepath.Base(path), buf)
	if notLink != nil { // or nothing: which it is tells who opens it
		return -1, "", unix.Close(above)
	}
	to = string(buf[:n])
	if filepath.IsAbs(to) {
		dir := filepath.Dir(path)
		if to = filepath.Clean(to); !Within(to, dir) {
			_ = unix.Close(above) // a path descriptor
			return -1, "", fmt.Errorf("%s leads to %s: %w", path, to, ErrLeads)
		}
		to = "." + strings.TrimPrefix(to, strings.TrimSuffix(dir, "/"))
	}
	return above, to, nil
}

// openLinked opens what a link leads to.
func openLinked(above int, to, path string, resolve uint64) (*os.File, error) {
	fd, err := openAny(above, to, resolve)
	switch {
	case errors.Is(err, unix.EXDEV), errors.Is(err, unix.ELOOP):
		return nil, fmt.Errorf("%s leads to %s: %w", path, to, ErrLeads)
	case err != nil:
		return nil, &os.PathError{Op: "open what " + path + " leads to,", Path: to, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// OpenDir opens a folder that is the operator's or the node's own to place, by
// a path without symbolic links.
func OpenDir(path string) (*os.File, error) {
	fd, err := openPath(unix.AT_FDCWD, path, unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, explain(path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

func openPath(dir int, path string, flags, resolve uint64) (int, error) {
	for {
		fd, err := unix.Openat2(dir, path, &unix.OpenHow{
			// Without O_NOFOLLOW, which would open a link at the end of the path.
			Flags:   unix.O_PATH | unix.O_CLOEXEC | flags,
			Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | resolve,
		})
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// openTries bounds the attempts to look up a path in a root: the kernel gives up
// (EAGAIN) where a ".." in a link meets a folder that is moved at that moment, and
// whoever owns the folders can go on moving them.
const openTries = 1000

// OpenIn opens a path in a folder that strangers may own. resolve says what is
// done with links that lead out of it: RESOLVE_IN_ROOT or RESOLVE_BENEATH of openat2(2).
func OpenIn(root int, path string, flags, resolve uint64) (fd int, err error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: resolve | unix.RESOLVE_NO_MAGICLINKS}
	for range openTries {
		fd, err = unix.Openat2(root, path, &how)
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			break
		}
	}
	return fd, err
}

// Root finds the root that a path is in, by their names alone.
func Root(roots []string, path string) (string, error) {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return "", fmt.Errorf("%q is not an absolute clean path", path)
	}
	for _, root := range roots {
		if Within(path, root) {
			return root, nil
		}
	}
	return "", fmt.Errorf("%s: %w, [%s]; move it there, or add a folder above it to volumeRoots", path, ErrOutside, strings.Join(roots, ", "))
}

// Within says whether a clean path is dir or lies in it, by their names.
func Within(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}

// explainUnless explains an error, unless nothing may be waited for.
func explainUnless(resolve uint64, path string, err error) error {
	if resolve&resolveCached != 0 {
		return err
	}
	return explain(path, err)
}

// explain says which part of a path is in the way. Nothing is decided by what
// it finds, which may have changed since.
func explain(path string, err error) error {
	if !errors.Is(err, unix.ELOOP) && !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	for i := 1; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		part := path[:i]
		fi, statErr := os.Lstat(part)
		switch {
		case statErr != nil:
			return statErr
		case fi.Mode()&fs.ModeSymlink != 0:
			return fmt.Errorf("%s: %s is a symbolic link: %w", path, part, ErrLink)
		case i < len(path) && !fi.IsDir():
			return &os.PathError{Op: "open", Path: part, Err: unix.ENOTDIR}
		}
	}
	return &os.PathError{Op: "open", Path: path, Err: err} // it has changed again
}

// ErrNotMounted means that no file system is mounted where one has to be.
var ErrNotMounted = errors.New("no file system is mounted there (mountpoint: true)")

// CheckMounted refuses what is not the root of a mount.
func CheckMounted(f *os.File) error {
	var st unix.Statx_t
	if err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, 0, &st); err != nil {
		return &os.PathError{Op: "statx", Path: f.Name(), Err: err}
	}
	if st.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return fmt.Errorf("%s: %w", f.Name(), ErrNotMounted)
	}
	return nil
}

// ErrOwn means that a link leads to what is the node's own.
var ErrOwn = errors.New("that is the node's own")

// KeepApart refuses an open source that is, contains or lies in a folder of the node's
// own. It goes by where the source lies, which is not where its path says when a link was followed.
func KeepApart(f *os.File, own []string) error {
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return fmt.Errorf("finding out where %s leads to: %w", f.Name(), err)
	}
	for _, dir := range own {
		if resolved, err := filepath.EvalSymlinks(dir); err == nil { // there may be links above it
			dir = resolved
		}
		if Within(path, dir) || Within(dir, path) {
			return fmt.Errorf("%s leads to %s, which is, contains or lies in %s: %w", f.Name(), path, dir, ErrOwn)
		}
	}
	return nil
}

// CheckKind refuses what cannot be a volume: devices, unless they are asked for,
// and FIFOs. A socket may be one, a database's say.
func CheckKind(f *os.File, devices bool) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR, unix.S_IFREG, unix.S_IFSOCK:
		return nil
	case unix.S_IFBLK, unix.S_IFCHR:
		if devices {
			return nil
		}
		return fmt.Errorf("%s is a device; a volume with dev: true may be one", f.Name())
	}
	return fmt.Errorf("%s is neither a folder nor a file or socket", f.Name())
}
