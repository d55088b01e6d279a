//go:build linux

package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	"github.com/fcnode/fcnode/runtime/container/mounts"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/runtime/volume"
	"golang.org/x/sys/unix"
)

// ask passes a request on to Gate, with what it cannot open itself: the network
// namespace or, for an init in a user namespace, the root file system; and the
// mounts of the volumes, in their order.
func (s *server) ask(req wire.StartRequest, netns *os.File) error {
	mapping, err := s.mapping()
	if err != nil {
		return err
	}
	first := netns
	if mapping != nil {
		defer mapping.Userns.Close() // a namespace
		if first, err = mappedRoot(req, mapping); err != nil {
			return err
		}
		defer first.Close() // Gate has its own
	}
	volumes, sources, err := mounts.OpenVolumes(req.ID, req.VolumeRoots, req.Mounts, mapping)
	if err != nil {
		return err
	}
	s.init.Sources = sources
	defer volumes.Close() // the same
	if err := wire.Send(s.gate, req, append([]*os.File{first}, volumes...)...); err != nil {
		return s.gateFailed(req, err)
	}
	return nil
}

// placeVolumes moves the volumes to their targets. What is at /dev of the root
// is hidden later by the container's own /dev, which lies ready at system: that
// is where the targets in /dev are.
func (g *gate) placeVolumes(root *os.File, volumes mounts.Volumes) error {
	defer volumes.Close()
	if len(volumes) != len(g.req.Mounts) {
		return fmt.Errorf("container %s has %d volumes, and %d came with the request", g.req.ID, len(g.req.Mounts), len(volumes))
	}
	for i, m := range g.req.Mounts {
		if err := g.placeVolume(root, volumes[i], m.Target); err != nil {
			return fail(wire.KindMount, "mounting volume %s at %s of container %s: %w", m.Source, m.Target, g.req.ID, err)
		}
	}
	return nil
}

func (g *gate) placeVolume(root, tree *os.File, target string) error {
	target = path.Clean("/" + target)
	resolve := uint64(unix.RESOLVE_IN_ROOT)
	if strings.HasPrefix(target, "/dev/") {
		system, err := os.OpenFile(g.system, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		defer system.Close() // a path descriptor
		root, resolve = system, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_SYMLINKS
	}
	folder, err := mounts.IsFolder(tree)
	if err != nil {
		return err
	}
	place, err := mountPoint(root, target, folder, resolve)
	if err != nil {
		return err
	}
	defer place.Close() // a path descriptor
	if err := allowed(root, place); err != nil {
		return err
	}
	return mounts.Move(tree, int(place.Fd()))
}

// mountPoint opens a target, never leaving the root by links or "..", and makes
// it if need be.
func mountPoint(root *os.File, target string, folder bool, resolve uint64) (*os.File, error) {
	f, err := openAt(root, target, folder, resolve)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	// Links that dangle count, too: an image may have /var/run without /run.
	inside, err := securejoin.SecureJoin(root.Name(), target)
	if err != nil {
		return nil, err
	}
	target = strings.TrimPrefix(inside, root.Name())
	dir, name := path.Split(target)
	if folder {
		dir = target
	}
	made, err := pathrs.MkdirAllHandle(root, dir, 0o755)
	if err != nil {
		return nil, fmt.Errorf("making the mount point: %w", err)
	}
	defer made.Close() // a path descriptor
	if !folder {
		fd, err := unix.Openat(int(made.Fd()), name, unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
		if err != nil {
			return nil, fmt.Errorf("making the mount point: %w", err)
		}
		_ = unix.Close(fd) // empty
	}
	return openAt(root, target, folder, resolve)
}

func openAt(root *os.File, target string, folder bool, resolve uint64) (*os.File, error) {
	flags := uint64(unix.O_PATH)
	if folder {
		flags |= unix.O_DIRECTORY
	}
	fd, err := volume.OpenIn(int(root.Fd()), target, flags, resolve)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: target, Err: err}
	}
	return os.NewFile(uintptr(fd), target), nil
}

// allowed refuses targets that links in the image or in another volume have led
// to: the root as a whole, and the kernel's own file systems, of which programs
// take for granted that they are the kernel's.
func allowed(root, place *os.File) error {
	var top, st unix.Stat_t
	var sfs unix.Statfs_t
	if err := errors.Join(unix.Fstat(int(root.Fd()), &top), unix.Fstat(int(place.Fd()), &st), unix.Fstatfs(int(place.Fd()), &sfs)); err != nil {
		return err
	}
	switch {
	case top.Dev == st.Dev && top.Ino == st.Ino:
		return errors.New("a symbolic link makes it the root itself")
	case sfs.Type == unix.PROC_SUPER_MAGIC, sfs.Type == unix.SYSFS_MAGIC, sfs.Type == unix.CGROUP2_SUPER_MAGIC:
		return errors.New("a symbolic link leads into /proc or /sys, which belong to the container")
	}
	return nil
}
