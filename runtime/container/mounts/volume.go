package mounts

import (
	"errors"
	"fmt"
	"os"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/runtime/volume"
	"golang.org/x/sys/unix"
)

// Volumes are detached mounts, of which each is closed with Close. Until one is
// moved into its place nobody can reach it, and what it shows is decided: names
// are looked up no more.
type Volumes []*os.File

// OpenVolumes makes the mounts of volumes, in this order. It is for a process
// in the initial user namespace; its mount namespace has to have the sources.
// mapping is nil where owners have the machine's numbers. sources say what they
// are of. No link leads to one of the folders of own. With alone nothing is in a mount
// that is mounted inside of its source, even if list has no volume for that.
func OpenVolumes(id string, roots, own []string, list []wire.Mount, mapping *volume.Mapping, alone bool) (made Volumes, sources []volume.Source, err error) {
	for _, m := range list {
		if m.Tmpfs {
			continue // who places them makes them
		}
		tree, was, err := openVolume(roots, own, m, mapping, alone)
		if err != nil {
			made.Close()
			kind := wire.KindMount
			if errors.Is(err, volume.ErrOther) {
				kind = wire.KindUnusable
			}
			return nil, nil, wire.Fail(kind, "volume %s for %s of container %s: %w", m.Source, m.Target, id, err)
		}
		made = append(made, tree)
		sources = append(sources, volume.Source{Path: m.Source, Follow: m.Follow, Inside: m.Inside, Target: m.Target, Was: was})
	}
	return made, sources, nil
}

// Close closes them. Those that are mounted stay mounted.
func (v Volumes) Close() {
	for _, f := range v {
		_ = f.Close() // a path descriptor
	}
}

func openVolume(roots, own []string, m wire.Mount, mapping *volume.Mapping, alone bool) (*os.File, volume.ID, error) {
	source, err := volume.Source{Path: m.Source, Follow: m.Follow, Inside: m.Inside}.Open(roots)
	if err != nil {
		return nil, volume.ID{}, err
	}
	defer source.Close()
	if m.Follow { // without links the path says it, and named volumes are in the node's own folder
		if err := volume.KeepApart(source, own); err != nil {
			return nil, volume.ID{}, err
		}
	}
	was, err := checkSource(source, m)
	if err != nil {
		return nil, was, err
	}
	depth := uint(unix.AT_RECURSIVE)
	if alone {
		depth = 0
	}
	fd, err := unix.OpenTree(int(source.Fd()), "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|depth)
	if err != nil {
		return nil, was, fmt.Errorf("copying the mount of %s: %w", m.Source, err)
	}
	tree := os.NewFile(uintptr(fd), m.Source)
	if err := volume.SetAttributes(tree, mapping.Add(attributes(m)), depth); err != nil {
		return nil, was, errors.Join(err, tree.Close())
	}
	return tree, was, nil
}

// checkSource says what an open source is, if it may be a volume.
func checkSource(source *os.File, m wire.Mount) (volume.ID, error) {
	id, err := volume.Identify(source)
	if err == nil {
		err = volume.CheckKind(source, m.Dev)
	}
	if err == nil && m.Mountpoint {
		err = volume.CheckMounted(source)
	}
	if err == nil && !m.Was.IsZero() && !id.Is(m.Was) {
		err = volume.ErrOther
	}
	return id, err
}

// attributes are only ever added to those that the source's mounts have. What is
// mounted on the machine later, below a source, is seen in the container with
// the attributes it has there; a read-only volume stays as it is.
func attributes(m wire.Mount) unix.MountAttr {
	attr := unix.MountAttr{Propagation: unix.MS_SLAVE}
	if m.ReadOnly {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
		attr.Propagation = unix.MS_PRIVATE
	}
	if !m.Suid {
		attr.Attr_set |= unix.MOUNT_ATTR_NOSUID
	}
	if !m.Dev {
		attr.Attr_set |= unix.MOUNT_ATTR_NODEV
	}
	if m.NoExec {
		attr.Attr_set |= unix.MOUNT_ATTR_NOEXEC
	}
	return attr
}

// IsFolder says whether what is mounted is a folder.
func IsFolder(tree *os.File) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(tree.Fd()), &st); err != nil {
		return false, &os.PathError{Op: "stat", Path: tree.Name(), Err: err}
	}
	return st.Mode&unix.S_IFMT == unix.S_IFDIR, nil
}

// Move moves a detached mount to a place that is open.
func Move(tree *os.File, place int) error {
	return unix.MoveMount(int(tree.Fd()), "", place, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

// MoveTo moves a detached mount to a folder that is the node's own.
func MoveTo(tree *os.File, folder string) error {
	return unix.MoveMount(int(tree.Fd()), "", unix.AT_FDCWD, folder, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// Park mounts volumes as the entries 0, 1, … of a new folder in memory that is
// mounted over dir, for CRIU, which takes them from there by their names. dir is
// the node's own.
func (v Volumes) Park(dir string) error {
	if len(v) == 0 {
		return nil
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", Quiet, "mode=755,size=1m"); err != nil {
		return fmt.Errorf("mounting a folder for volumes: %w", err)
	}
	for i, tree := range v {
		if err := parkAt(tree, ParkedAt(dir, i)); err != nil {
			return fmt.Errorf("mounting volume %s: %w", tree.Name(), err)
		}
	}
	return nil
}

// ParkedAt is where Park mounts a volume.
func ParkedAt(dir string, i int) string { return fmt.Sprintf("%s/%d", dir, i) }

func parkAt(tree *os.File, path string) error {
	folder, err := IsFolder(tree)
	if err != nil {
		return err
	}
	if folder {
		err = unix.Mkdir(path, 0o700)
	} else {
		err = unix.Mknod(path, unix.S_IFREG|0o600, 0)
	}
	if err != nil {
		return err
	}
	place, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(place)
	return Move(tree, place)
}
