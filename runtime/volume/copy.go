package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/thread"
)

// MaxDepth bounds how deep folders are nested, as each level takes descriptors
// of the daemon.
const MaxDepth = 256

// copyFromImage copies the folder at target in an image to the new folder name in
// dir. Where the image has no such folder it is empty. The image may be a folder
// that strangers change at the same moment: everything is opened by descriptors,
// and links on the way to the target are followed inside of the image only.
func copyFromImage(ctx context.Context, layers []string, target, dir, name string) error {
	to, err := openDirectory(unix.AT_FDCWD, dir)
	if err != nil {
		return err
	}
	defer unix.Close(to)
	return thread.Throwaway(func() error {
		root, err := openImage(layers, dir)
		if err != nil {
			return fmt.Errorf("open the image: %w", err)
		}
		defer unix.Close(root)
		from, err := OpenIn(root, strings.TrimPrefix(target, "/"), unix.O_RDONLY|unix.O_DIRECTORY, unix.RESOLVE_IN_ROOT)
		if errors.Is(err, unix.ENOENT) {
			if names, err := namesIn(root, "/"); err != nil || len(names) == 0 {
				return errors.Join(errors.New("the image is an empty folder: is its disk mounted?"), err)
			}
			return unix.Mkdirat(to, name, 0o755)
		}
		if err != nil {
			return fmt.Errorf("open %s of the image: %w", target, err)
		}
		defer unix.Close(from)
		c := copier{ctx: ctx, top: to, name: name, target: target, links: map[inode]string{}}
		return c.folder(from, to, name, target, 0)
	})
}

// InImage calls f with the root of an image, which nothing is to be changed in, on
// a thread of its own. at is a folder over which several layers are mounted for f
// alone. The image may be a folder that strangers change at the same moment.
func InImage(layers []string, at string, f func(root *os.File) error) error {
	return thread.Throwaway(func() error {
		fd, err := openImage(layers, at)
		if err != nil {
			return fmt.Errorf("open the image: %w", err)
		}
		root := os.NewFile(uintptr(fd), "/")
		defer root.Close() // read only
		return f(root)
	})
}

// openImage opens an image's folders as one. Those of several layers are mounted
// over each other, in a mount namespace that ends with this thread; at is where.
func openImage(layers []string, at string) (int, error) {
	if len(layers) == 0 {
		return -1, errors.New("it has no layers")
	}
	if len(layers) > 1 { // before they are opened: overlayfs takes folders of its own namespace only
		if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
			return -1, os.NewSyscallError("unshare", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return -1, os.NewSyscallError("mount", err)
		}
	}
	dirs := make([]string, 0, len(layers))
	for _, layer := range layers {
		d, err := OpenDir(layer)
		if err != nil {
			return -1, err
		}
		defer d.Close()
		dirs = append(dirs, "/proc/self/fd/"+strconv.Itoa(int(d.Fd())))
	}
	if len(dirs) == 1 {
		return openDirectory(unix.AT_FDCWD, dirs[0])
	}
	const flags = unix.MS_RDONLY | unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC
	if err := unix.Mount("overlay", at, "overlay", flags, "lowerdir="+strings.Join(dirs, ":")); err != nil {
		return -1, &os.PathError{Op: "mount", Path: "overlay", Err: err}
	}
	return openDirectory(unix.AT_FDCWD, at)
}

func openDirectory(at int, path string) (int, error) {
	fd, err := unix.Openat(at, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// copier copies a tree.
type copier struct {
	ctx    context.Context  //nolint:containedctx // of this one copy
	top    int              // the folder that the copy is in
	name   string           // of the copy
	target string           // what is copied
	links  map[inode]string // where the first of several names of a file is, below top
	within uint64           // RESOLVE_NO_XDEV: what is mounted in it is left out

	clone          bool // files share their blocks with what they are copied from, where the file system can
	cloned, copied int64
	files, left    int64
}

type inode struct{ dev, ino uint64 }

// folder copies an open folder to a new one, with all that is in it. path is for messages.
func (c *copier) folder(from, toDir int, name, path string, depth int) error {
	if depth > MaxDepth {
		return fmt.Errorf("%s: folders are nested deeper than %d", path, MaxDepth)
	}
	if err := unix.Mkdirat(toDir, name, 0o700); err != nil {
		return &os.PathError{Op: "mkdir", Path: path, Err: err}
	}
	to, err := unix.Openat(toDir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(to)
	if err := c.contents(from, to, path, depth); err != nil {
		return err
	}
	return c.attributes(from, to, toDir, name, path)
}

// CopyInto copies what is in an open folder into another one, which is empty, and
// gives that the attributes of the first. What is mounted inside of it is left out: it
// is not the image's, and may be without end. path is for messages.
func CopyInto(from, to int, path string) error {
	c := copier{ctx: context.Background(), top: to, name: ".", target: path, links: map[inode]string{}, within: unix.RESOLVE_NO_XDEV}
	if err := c.contents(from, to, path, 0); err != nil {
		return err
	}
	return c.attributes(from, to, to, ".", path)
}

// contents copies all that is in an open folder.
func (c *copier) contents(from, to int, path string, depth int) error {
	names, err := namesIn(from, path)
	if err != nil {
		return err
	}
	for _, entry := range names {
		if c.ctx.Err() != nil {
			return context.Cause(c.ctx)
		}
		if err := c.entry(from, to, entry, path+"/"+entry, depth); err != nil {
			return err
		}
	}
	return nil
}

func namesIn(dir int, path string) ([]string, error) {
	fd, err := unix.FcntlInt(uintptr(dir), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	return f.Readdirnames(-1)
}

// entry copies what a folder has under a name, whatever that is by now.
func (c *copier) entry(from, to int, name, path string, depth int) error {
	var st unix.Stat_t
	err := unix.Fstatat(from, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	c.files++
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR, unix.S_IFREG:
	case unix.S_IFLNK:
		return c.symlink(from, to, name, path, &st)
	case unix.S_IFIFO:
		if err := unix.Mknodat(to, name, unix.S_IFIFO|0o600, 0); err != nil {
			return &os.PathError{Op: "mkfifo", Path: path, Err: err}
		}
		return named(to, name, path, &st)
	default:
		c.left++
		return nil // devices and sockets are not an image's to give
	}
	// Not blocking: it may have become a FIFO. Mounts are told by the lookup and not by st_dev, which in an
	// overlay differs from the folder's for files of a layer on another disk.
	fd, err := OpenIn(from, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, c.within)
	if errors.Is(err, unix.EXDEV) && c.within != 0 {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	if err := unix.Fstat(fd, &st); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return c.folder(fd, to, name, path, depth+1)
	case unix.S_IFREG:
		return c.regular(fd, to, name, path, &st)
	}
	return fmt.Errorf("%s changes while it is copied", path)
}

func (c *copier) symlink(from, to int, name, path string, st *unix.Stat_t) error {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(from, name, buf)
	if err != nil {
		return &os.PathError{Op: "readlink", Path: path, Err: err}
	}
	if err := unix.Symlinkat(string(buf[:n]), to, name); err != nil {
		return &os.PathError{Op: "symlink", Path: path, Err: err}
	}
	return named(to, name, path, st)
}

// named gives what cannot be opened its owner, mode and time.
func named(to int, name, path string, st *unix.Stat_t) error {
	err := unix.Fchownat(to, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFLNK {
		err = unix.Fchmodat(to, name, st.Mode&0o7777, 0) // nobody else can enter the folder
	}
	if err == nil {
		err = unix.UtimesNanoAt(to, name, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return &os.PathError{Op: "set the owner of", Path: path, Err: err}
	}
	return nil
}

func (c *copier) regular(from, to int, name, path string, st *unix.Stat_t) error {
	id := inode{st.Dev, st.Ino}
	if first, ok := c.links[id]; ok && st.Nlink > 1 {
		if err := unix.Linkat(c.top, first, to, name, 0); err != nil {
			return &os.PathError{Op: "link", Path: path, Err: err}
		}
		return nil
	}
	fd, err := unix.Openat(to, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &os.PathError{Op: "create", Path: path, Err: err}
	}
	out := os.NewFile(uintptr(fd), path)
	defer out.Close()
	if err := c.data(from, out, st.Size); err != nil {
		return fmt.Errorf("copy %s: %w", path, err)
	}
	if err := c.attributes(from, fd, to, name, path); err != nil {
		return err
	}
	if st.Nlink > 1 {
		if len(c.links) == maxLinks {
			return fmt.Errorf("%s: more than %d files have several names", path, maxLinks)
		}
		c.links[id] = filepath.Join(c.name, strings.TrimPrefix(path, c.target))
	}
	return nil
}

// maxLinks bounds the files of which several names are kept together. Beyond it
// they are not made files of their own: a tenant would have a large file copied
// once for each name.
const maxLinks = 1 << 16

// data gives a copy the data of a file, shared where it may be.
func (c *copier) data(from int, to *os.File, size int64) error {
	if c.clone {
		err := unix.IoctlFileClone(int(to.Fd()), from)
		if err == nil {
			c.cloned += size
			return nil
		}
		if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTTY) {
			return os.NewSyscallError("ioctl FICLONE", err)
		}
	}
	n, err := copyData(c.ctx, from, to, size)
	c.copied += n
	return err
}

// copyPiece is how much is copied between two looks at whether to go on, in bytes.
const copyPiece = 8 << 20

// copyData copies a file's data, and leaves its holes holes: its size says
// nothing of the disk that it takes.
func copyData(ctx context.Context, from int, to *os.File, size int64) (copied int64, err error) {
	fd, err := unix.FcntlInt(uintptr(from), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("fcntl", err)
	}
	in := os.NewFile(uintptr(fd), to.Name())
	defer in.Close()
	for at := int64(0); at < size; {
		if ctx.Err() != nil {
			return copied, context.Cause(ctx)
		}
		begin, err := unix.Seek(from, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // a hole up to the end
		}
		end := size
		if err == nil {
			end, err = unix.Seek(from, begin, unix.SEEK_HOLE)
		}
		if err != nil {
			return copied, os.NewSyscallError("lseek", err)
		}
		end = min(end, begin+copyPiece)
		if _, err := in.Seek(begin, io.SeekStart); err != nil {
			return copied, err
		}
		if _, err := to.Seek(begin, io.SeekStart); err != nil {
			return copied, err
		}
		n, err := io.CopyN(to, in, end-begin)
		copied += n
		if err != nil {
			return copied, err
		}
		at = end
	}
	return copied, to.Truncate(size)
}

// attributes gives an open copy owner, extended attributes, mode and times, in
// this order: a change of owner takes set-user-ID bits and capabilities away.
func (c *copier) attributes(from, to, toDir int, name, path string) error {
	var st unix.Stat_t
	err := unix.Fstat(from, &st)
	if err == nil {
		err = unix.Fchown(to, int(st.Uid), int(st.Gid))
	}
	if err == nil {
		err = copyXattrs(from, to)
	}
	if err == nil {
		err = unix.Fchmod(to, st.Mode&0o7777)
	}
	if err == nil {
		err = unix.UtimesNanoAt(toDir, name, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return &os.PathError{Op: "set the attributes of", Path: path, Err: err}
	}
	return nil
}

// copyXattrs copies a file's own extended attributes.
func copyXattrs(from, to int) error {
	list := make([]byte, MaxXattr)
	n, err := unix.Flistxattr(from, list)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return err
	}
	value := make([]byte, MaxXattr)
	for name := range strings.SplitSeq(string(list[:n]), "\x00") {
		if !KeptXattr(name) {
			continue
		}
		size, err := unix.Fgetxattr(from, name, value)
		if errors.Is(err, unix.ENODATA) {
			continue // gone
		}
		if err == nil {
			err = unix.Fsetxattr(to, name, value[:size], 0)
		}
		if err != nil && !errors.Is(err, unix.ENOTSUP) {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// MaxXattr is the most that the kernel gives of a list of names, and of a value (XATTR_LIST_MAX, XATTR_SIZE_MAX).
const MaxXattr = 1 << 16

// KeptXattr says whether an extended attribute is a file's own: trusted ones are the
// file system's, overlayfs's for instance, and labels the machine's policy's.
func KeptXattr(name string) bool {
	switch name {
	case "security.capability", "system.posix_acl_access", "system.posix_acl_default":
		return true
	}
	return strings.HasPrefix(name, "user.")
}
