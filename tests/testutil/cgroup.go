package testutil

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// cgroup is the cgroup of one run of a test binary, reached through a detached
// mount of the hierarchy: nothing of the machine's own mounts is used or changed.
type cgroup struct {
	root *os.File // the detached mount
	dir  *os.File // the cgroup
	name string
}

// makeCgroup makes the cgroup that becomes the root of the tests' cgroup namespace.
func makeCgroup() (*cgroup, error) {
	root, err := detachedMount("cgroup2")
	if err != nil {
		return nil, fmt.Errorf("mounting cgroup2 for the tests: %w", err)
	}
	// A run that was killed has left its own, and its number may be used again.
	name := fmt.Sprintf("fcnode-test-%d-%d", os.Getpid(), time.Now().UnixNano())
	if err := unix.Mkdirat(int(root.Fd()), name, 0o755); err != nil {
		return nil, errors.Join(fmt.Errorf("making cgroup %s: %w", name, err), root.Close())
	}
	dir, err := os.Open(filepath.Join(fdPath(root), name))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening cgroup %s: %w", name, err), root.Close())
	}
	return &cgroup{root: root, dir: dir, name: name}, nil
}

// detachedMount mounts a file system without attaching it anywhere; it is gone with its descriptor.
func detachedMount(fstype string) (*os.File, error) {
	ctx, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("fsopen(%s): %w", fstype, err)
	}
	defer unix.Close(ctx)
	if err := unix.FsconfigCreate(ctx); err != nil {
		return nil, fmt.Errorf("fsconfig(%s, create): %w", fstype, err)
	}
	fd, err := unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("fsmount(%s): %w", fstype, err)
	}
	return os.NewFile(uintptr(fd), fstype), nil
}

func fdPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// tree lists the cgroup's descendants, deepest last.
func (c *cgroup) tree() []string {
	var dirs []string
	top := filepath.Join(fdPath(c.root), c.name)
	_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != top {
			rel, _ := filepath.Rel(top, path) // both are absolute
			dirs = append(dirs, rel)
		}
		return nil // a cgroup may end under the walk
	})
	return dirs
}

// left names the cgroups that tests made and did not remove.
func (c *cgroup) left() []string {
	var leaks []string
	for _, dir := range c.tree() {
		if dir != ownCgroup {
			leaks = append(leaks, fmt.Sprintf("cgroup /%s was not removed", dir))
		}
	}
	return leaks
}

// remove removes the cgroup and all below it. Its processes are dead by now, but
// the kernel may take a moment to notice, and announces that to nobody without a watch per cgroup.
func (c *cgroup) remove() error {
	var err error
	for deadline := time.Now().Add(Timeout(endsWithin)); ; time.Sleep(pollInterval) {
		for _, dir := range slices.Backward(c.tree()) {
			_ = unix.Unlinkat(int(c.dir.Fd()), dir, unix.AT_REMOVEDIR) // judged by the next call
		}
		err = unix.Unlinkat(int(c.root.Fd()), c.name, unix.AT_REMOVEDIR)
		if err == nil || time.Now().After(deadline) {
			break
		}
	}
	if err != nil {
		err = fmt.Errorf("removing the tests' cgroup %s: %w", c.name, err)
	}
	return errors.Join(err, c.dir.Close(), c.root.Close())
}
