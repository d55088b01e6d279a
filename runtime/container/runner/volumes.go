package runner

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
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
	opener := mounts.Opener{
		ID: req.ID, Roots: req.VolumeRoots, Own: req.OwnFolders, Secrets: req.SecretRoots, Attach: req.Rootfs, Mapping: mapping,
	}
	volumes, sources, err := opener.Open(req.Mounts)
	if err != nil {
		return err
	}
	defer volumes.Close() // the same
	env, inMemory, err := opener.Variables(req.SecretEnv)
	if err != nil {
		return err
	}
	req.Env = append(slices.Clip(req.Env), env...)
	s.init.Sources = append(sources, inMemory...)
	if err := wire.Send(s.gate, req, append([]*os.File{first}, volumes...)...); err != nil {
		return s.gateFailed(req, err)
	}
	return nil
}

// placeVolumes moves the volumes and secrets to their targets. What is at /dev of
// the root is hidden later by the container's own /dev, which lies ready at system: that
// is where the targets in /dev are.
func (g *gate) placeVolumes(root *os.File, volumes mounts.Volumes) error {
	defer volumes.Close()
	for _, m := range g.req.Mounts {
		if m.Tmpfs {
			if err := g.placeTmpfs(root, m); err != nil {
				return fail(wire.KindMount, "mounting a folder in memory at %s of container %s: %w", m.Target, g.req.ID, err)
			}
			continue
		}
		if len(volumes) == 0 {
			return fmt.Errorf("volume %s of container %s did not come with the request", m.Source, g.req.ID)
		}
		err := g.placeVolume(root, volumes[0], m.Target)
		if err == nil && m.Secret != nil {
			err = g.giveSecret(root, volumes[0], m.Secret)
		}
		if err != nil {
			return fail(wire.KindMount, "mounting %s at %s of container %s: %w", m.Source, m.Target, g.req.ID, err)
		}
		volumes = volumes[1:]
	}
	return nil
}

// giveSecret makes a secret its owner's.
func (g *gate) giveSecret(root, tree *os.File, s *wire.Secret) error {
	owner, err := mounts.LookUser(root, cmp.Or(s.Owner, g.req.User))
	if err != nil {
		return err
	}
	return mounts.Give(tree, owner)
}

// placeTmpfs mounts a folder in memory, with what the image has in its place.
func (g *gate) placeTmpfs(root *os.File, m wire.Mount) error {
	tree, err := mounts.Tmpfs(m)
	if err != nil {
		return err
	}
	defer tree.Close() // mounted, or of no use
	target := path.Clean("/" + m.Target)
	before, err := openAt(root, target, true, unix.RESOLVE_IN_ROOT)
	if err == nil {
		defer before.Close() // a path descriptor
		// Before anything is copied: a link to / would have all that the container sees copied into memory.
		if err := allowed(root, before); err != nil {
			return err
		}
		err = copyUp(root, before, tree)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	place, err := mountPoint(root, target, true, unix.RESOLVE_IN_ROOT)
	if err != nil {
		return err
	}
	defer place.Close() // a path descriptor
	if err := allowed(root, place); err != nil {
		return err
	}
	return mounts.Move(tree, int(place.Fd()))
}

// copyUp copies a folder of the image into one in memory. One in a volume is not
// the image's.
func copyUp(root, folder, tree *os.File) error {
	var top, st unix.Stat_t
	if err := errors.Join(unix.Fstat(int(root.Fd()), &top), unix.Fstat(int(folder.Fd()), &st)); err != nil {
		return err
	}
	if st.Dev != top.Dev {
		return nil
	}
	var fds [2]int
	for i, f := range []*os.File{folder, tree} {
		fd, err := unix.Openat(int(f.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: f.Name(), Err: err}
		}
		defer unix.Close(fd)
		fds[i] = fd
	}
	if err := volume.CopyInto(fds[0], fds[1], folder.Name()); err != nil {
		return fmt.Errorf("copying what the image has there: %w", err)
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
