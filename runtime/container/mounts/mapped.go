package mounts

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/runtime/thread"
	"github.com/fcnode/fcnode/runtime/volume"
	"golang.org/x/sys/unix"
)

// Mapped mounts a replica's root file system for a user namespace, and detaches
// it from r.Target. Each layer is mapped, not the overlay, which the kernel
// refuses.
func (l Layers) Mapped(r Root, m *volume.Mapping) (*os.File, error) {
	var mapped Layers
	defer func() { mapped.Close() }()
	for _, layer := range l {
		tree, err := m.Clone(layer)
		if err != nil {
			return nil, wire.Fail(wire.KindRootfs, "the image of container %s: %w", r.ID, err)
		}
		mapped = append(mapped, tree)
	}
	// Upper and work are to be of one mount.
	dir := filepath.Dir(r.Upper)
	if dir != filepath.Dir(r.Work) {
		return nil, fmt.Errorf("the folders %s and %s of container %s have to lie in the same folder", r.Upper, r.Work, r.ID)
	}
	parent, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, wire.Fail(wire.KindRootfs, "opening the root file system of container %s: %w", r.ID, err)
	}
	defer parent.Close() // a path descriptor
	own, err := m.Clone(parent)
	if err != nil {
		return nil, wire.Fail(wire.KindRootfs, "the writable layer of container %s: %w", r.ID, err)
	}
	defer own.Close() // what is mounted of it stays
	r.Upper, r.Work = filepath.Join(fdPath(own), filepath.Base(r.Upper)), filepath.Join(fdPath(own), filepath.Base(r.Work))
	root, err := append(slices.Clone(mapped), own).attached(r.Target, func() (*os.File, error) {
		if err := asRoot(m.Root, func() error { return mapped.Overlay(r) }); err != nil {
			return nil, err
		}
		return detach(r.Target)
	})
	if err != nil {
		_ = root.Close() // nil, but where only the unmounting failed
		return nil, wire.Fail(wire.KindRootfs, "mounting the root file system of container %s for its user namespace: %w", r.ID, err)
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(root.Fd()), &st); err != nil || st.Flags&unix.ST_RDONLY != 0 {
		// The kernel does so, silently, where it cannot write to the upper folder.
		return nil, errors.Join(wire.Fail(wire.KindRootfs, "the writable layer of container %s, in %s, cannot be written to: %w", r.ID, dir, volume.ErrUnmapped), err, root.Close())
	}
	return root, nil
}

// attached has the layers mounted, one over the other, while fn runs: before
// Linux 6.15 overlayfs takes no layers that are mounted nowhere (check_mnt of
// clone_private_mount in fs/namespace.c).
func (l Layers) attached(target string, fn func() (*os.File, error)) (root *os.File, err error) {
	for _, layer := range l {
		if err := unix.MoveMount(int(layer.Fd()), "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return nil, fmt.Errorf("mounting the layer %s: %w", layer.Name(), err)
		}
		defer func() {
			if failed := unix.Unmount(target, unix.MNT_DETACH); failed != nil {
				err = errors.Join(err, fmt.Errorf("unmounting the layer %s: %w", layer.Name(), failed))
			}
		}()
	}
	return fn()
}

// detach takes a mount away from where it is.
func detach(target string) (*os.File, error) {
	tree, err := CloneFolder(target)
	if err != nil {
		return nil, err
	}
	if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
		return nil, errors.Join(err, tree.Close())
	}
	return tree, nil
}

// asRoot runs fn as a user namespace's root accesses files, with all capabilities
// of this process: an overlay works in its upper folder as who has mounted it. It
// runs on this thread, whose mount namespace may be another one than the process'.
func asRoot(root uint32, fn func() error) error {
	runtime.LockOSThread()
	err := setFileIDs(int(root), int(root))
	if err == nil {
		err = fn()
	}
	if undone := setFileIDs(unix.Geteuid(), unix.Getegid()); undone != nil {
		return errors.Join(err, undone) // still locked: the thread ends with its goroutine
	}
	runtime.UnlockOSThread()
	return err
}

// setFileIDs says as whom this thread accesses files; it keeps its capabilities.
func setFileIDs(uid, gid int) error {
	_, _ = unix.SetfsgidRetGid(gid) // they only tell what was before
	_, _ = unix.SetfsuidRetUid(uid)
	group, err := unix.SetfsgidRetGid(-1) // that is none
	if err == nil && group != gid {
		err = unix.EPERM
	}
	if err != nil {
		return fmt.Errorf("accessing files as group %d: %w", gid, err)
	}
	user, err := unix.SetfsuidRetUid(-1)
	if err == nil && user != uid {
		err = unix.EPERM
	}
	if err != nil {
		return fmt.Errorf("accessing files as user %d: %w", uid, err)
	}
	// To be another user takes those capabilities that are about files.
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("reading the capabilities of a thread: %w", err)
	}
	for i := range data {
		data[i].Effective = data[i].Permitted
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("giving a thread its capabilities: %w", err)
	}
	return nil
}

// CloneFolder gives a detached mount of a folder, without what is mounted in it.
func CloneFolder(dir string) (*os.File, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("copying the mount of %s: %w", dir, err)
	}
	return os.NewFile(uintptr(fd), dir), nil
}

// Images mounts the folder of an image at a folder, with another file in the place of
// the one of that name, and gives it, open.
func Images(tree *os.File, at, name, other string) (*os.File, error) {
	if err := MoveTo(tree, at); err != nil {
		return nil, err
	}
	if err := unix.Mount(other, filepath.Join(at, name), "", unix.MS_BIND, ""); err != nil {
		return nil, err
	}
	return os.Open(at)
}

// MappedSystem are the mounts that only the initial user namespace can make: a
// /dev whose nodes work and belong to the other namespace's root, and a /sys that
// shows the network namespace.
func MappedSystem(root uint32, netns *os.File) (dev, sys *os.File, err error) {
	if dev, err = mappedDev(root); err != nil {
		return nil, nil, fmt.Errorf("making /dev of the container: %w", err)
	}
	err = thread.InNetns(netns, func() error {
		sys, err = newMount("sysfs", unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
		return err
	})
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("making /sys of the container: %w", err), dev.Close())
	}
	return dev, sys, nil
}

// newMount makes a detached mount of a new file system.
func newMount(fstype string, attributes int, options ...string) (*os.File, error) {
	fs, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fs)
	for _, o := range options {
		key, value, set := strings.Cut(o, "=")
		if set {
			err = unix.FsconfigSetString(fs, key, value)
		} else {
			err = unix.FsconfigSetFlag(fs, key)
		}
		if err != nil {
			return nil, fmt.Errorf("option %s of %s: %w", o, fstype, err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, err
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attributes)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), fstype), nil
}

func mappedDev(root uint32) (*os.File, error) {
	dev, err := newMount("tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_STRICTATIME,
		"mode=755", "size=65536k", fmt.Sprintf("uid=%d", root), fmt.Sprintf("gid=%d", root))
	if err != nil {
		return nil, err
	}
	at := int(dev.Fd())
	for _, d := range devices {
		err = errors.Join(err, unix.Mknodat(at, d.name, unix.S_IFCHR|0o666, int(unix.Mkdev(d.major, d.minor))),
			unix.Fchmodat(at, d.name, 0o666, 0), unix.Fchownat(at, d.name, int(root), int(root), unix.AT_SYMLINK_NOFOLLOW))
	}
	for _, l := range devLinks {
		err = errors.Join(err, unix.Symlinkat(l[0], at, l[1]), unix.Fchownat(at, l[1], int(root), int(root), unix.AT_SYMLINK_NOFOLLOW))
	}
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	return dev, nil
}
