package volume

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Mapping shows the owners of files in a user namespace by the numbers that they
// have on disk: 33 is 33 there, whatever number of the machine that is.
type Mapping struct {
	Userns *os.File
	Root   uint32 // the machine's number of root there
}

// ErrUnmapped means that a file system cannot show owners by other numbers.
var ErrUnmapped = errors.New("its file system, or one that is mounted in it, cannot be mounted with mapped owners on this kernel, as userns: private needs")

// probeRoot is the root of a user namespace that nobody ever runs in.
const probeRoot = 1879048192

// ProbeMapping makes a mapping to find out by Try what can be mapped. Close its
// namespace.
func ProbeMapping() (*Mapping, error) { return NewMapping(probeRoot) }

// NewMapping makes a mapping to 65,536 numbers of the machine from root on, by a user
// namespace in which nobody runs. Close that.
func NewMapping(root uint32) (*Mapping, error) {
	// A traced child stops before its first instruction.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(root), Size: 1 << 16}}
	child := exec.Command("/proc/self/exe")
	child.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, Ptrace: true, Pdeathsig: unix.SIGKILL,
	}
	if err := child.Start(); err != nil {
		return nil, fmt.Errorf("making a user namespace: %w; is the sysctl user.max_user_namespaces 0?", err)
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", child.Process.Pid))
	_ = child.Process.Kill() // it is stopped, and collected next
	_ = child.Wait()
	if err != nil {
		return nil, fmt.Errorf("opening a user namespace: %w", err)
	}
	return &Mapping{Userns: ns, Root: root}, nil
}

// Try says whether a folder or file, with all that is mounted in it, can be
// mapped.
func (m *Mapping) Try(f *os.File) error {
	tree, err := m.clone(f, unix.AT_RECURSIVE)
	if err == nil {
		err = tree.Close()
	}
	return err
}

// Clone gives a detached mount of a folder, mapped.
func (m *Mapping) Clone(dir *os.File) (*os.File, error) { return m.clone(dir, 0) }

func (m *Mapping) clone(f *os.File, recursive uint) (*os.File, error) {
	fd, err := unix.OpenTree(int(f.Fd()), "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|recursive)
	if err != nil {
		return nil, fmt.Errorf("copying the mount of %s: %w", f.Name(), err)
	}
	tree := os.NewFile(uintptr(fd), f.Name())
	attr := m.Add(unix.MountAttr{})
	if err := SetAttributes(tree, attr, recursive); err != nil {
		return nil, errors.Join(err, tree.Close())
	}
	return tree, nil
}

// Add adds the mapping, if it is not nil, to attributes of a mount.
func (m *Mapping) Add(attr unix.MountAttr) unix.MountAttr {
	if m != nil {
		attr.Attr_set |= unix.MOUNT_ATTR_IDMAP
		attr.Userns_fd = uint64(m.Userns.Fd())
	}
	return attr
}

// SetAttributes sets those of a detached mount; with AT_RECURSIVE also of those
// in it.
func SetAttributes(tree *os.File, attr unix.MountAttr, recursive uint) error {
	err := unix.MountSetattr(int(tree.Fd()), "", recursive|unix.AT_EMPTY_PATH, &attr)
	if errors.Is(err, unix.EINVAL) && attr.Attr_set&unix.MOUNT_ATTR_IDMAP != 0 {
		err = ErrUnmapped
	}
	if err != nil {
		return fmt.Errorf("setting the attributes of the mount of %s: %w", tree.Name(), err)
	}
	return nil
}
