package archive

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/volume"
)

// ErrKernel means that what lies there is no file but the kernel's, as /proc and
// /sys are.
var ErrKernel = errors.New("it is not a file system to copy from or to, but the kernel's own")

// kernels are the file systems whose files are the kernel's: to read or write one
// does something to the machine.
var kernels = []int64{
	unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.DEBUGFS_MAGIC,
	unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC, unix.BPF_FS_MAGIC, unix.DEVPTS_SUPER_MAGIC, unix.SELINUX_MAGIC,
	unix.SMACK_MAGIC, unix.EFIVARFS_MAGIC, unix.PSTOREFS_MAGIC, unix.BINFMTFS_MAGIC, unix.NSFS_MAGIC,
	unix.AUTOFS_SUPER_MAGIC, unix.SOCKFS_MAGIC, unix.PIPEFS_MAGIC, unix.ANON_INODE_FS_MAGIC,
	0x62656570, /* configfs */
}

// isKernels says whether an open file is one of theirs.
func isKernels(fd int) (bool, error) {
	var st unix.Statfs_t
	for {
		err := unix.Fstatfs(fd, &st)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return slices.Contains(kernels, st.Type), err
	}
}

// handle is something that is open as a path only, so that opening it has done
// nothing to it.
type handle struct {
	fd int
	st unix.Stat_t
}

func (h *handle) close() { _ = unix.Close(h.fd) } // a path descriptor

func (h *handle) kind() uint32 { return h.st.Mode & unix.S_IFMT }

// look opens a name in a folder, whatever it is, and follows no link. within is what
// the folder's own device is: files of the kernel's are refused where it is left.
func look(dir int, name string, within uint64) (*handle, error) {
	fd, err := volume.OpenIn(dir, name, unix.O_PATH|unix.O_NOFOLLOW, unix.RESOLVE_BENEATH)
	if err != nil {
		return nil, err
	}
	return statted(fd, within)
}

func statted(fd int, within uint64) (*handle, error) {
	h := &handle{fd: fd}
	err := unix.Fstat(fd, &h.st)
	if err == nil && h.st.Dev != within {
		var is bool
		if is, err = isKernels(fd); is {
			err = ErrKernel
		}
	}
	if err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

// open opens what a handle is of, a folder or a regular file, for reading.
func (h *handle) open(path string) (*os.File, error) {
	flags := unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY
	if h.kind() == unix.S_IFDIR {
		flags |= unix.O_DIRECTORY
	}
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(h.fd), flags, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// Tree is a folder that paths are looked up in. To paths in it "/" is the folder.
type Tree struct {
	fd int // -1: the caller's own root and working directory
}

// Local is all that this process can see, by paths of its own.
var Local = Tree{fd: -1}

// In is a folder, whose descriptor stays the caller's.
func In(dir *os.File) Tree { return Tree{int(dir.Fd())} }

// find opens what lies at a path, as a path. Links on the way, and at its end, are
// followed inside of the tree.
func (t Tree) find(path string) (*handle, error) {
	var fd int
	var err error
	if t.fd < 0 {
		fd, err = unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	} else {
		fd, err = volume.OpenIn(t.fd, path, unix.O_PATH, unix.RESOLVE_IN_ROOT)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	h, err := statted(fd, ^uint64(0))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return h, nil
}

// Check says whether there is something at a path that can be packed.
func (t Tree) Check(path string) error {
	h, err := t.find(path)
	if err == nil {
		h.close()
	}
	return err
}

// ReadFile reads a regular file, at most so many bytes of it. One that is not there is
// empty.
func (t Tree) ReadFile(path string, most int64) ([]byte, error) {
	h, err := t.find(path)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer h.close()
	if h.kind() != unix.S_IFREG {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	f, err := h.open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}
