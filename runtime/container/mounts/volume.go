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

// Opener makes the mounts of a container's volumes and secrets. It is for a process
// in the initial user namespace, whose mount namespace has the sources.
type Opener struct {
	ID      string          // of the container
	Roots   []string        // what the sources lie below
	Own     []string        // folders that no link leads to
	Secrets []string        // what secrets lie below
	Attach  string          // a folder of the node's own, free in this mount namespace
	Mapping *volume.Mapping // nil where owners have the machine's numbers
	// Alone leaves out of a mount what is mounted inside of its source, even if there
	// is no volume for that.
	Alone bool
}

// Open makes the mounts in this order, but not those of folders in memory: who
// places them makes them. sources say what they are of.
func (o Opener) Open(list []wire.Mount) (made Volumes, sources []volume.Source, err error) {
	for _, m := range list {
		if m.Tmpfs {
			continue
		}
		what, open := "volume", o.openVolume
		if m.NFS != nil {
			open = o.openNFS
		}
		if m.Secret != nil {
			what, open = "secret", o.openSecret
		}
		tree, of, err := open(m)
		if err != nil {
			made.Close()
			kind := wire.KindMount
			if errors.Is(err, volume.ErrOther) {
				kind = wire.KindUnusable
			}
			return nil, nil, wire.Fail(kind, "%s %s for %s of container %s: %w", what, m.Source, m.Target, o.ID, err)
		}
		made = append(made, tree)
		sources = append(sources, of...)
	}
	return made, sources, nil
}

// Close closes them. Those that are mounted stay mounted.
func (v Volumes) Close() {
	for _, f := range v {
		_ = f.Close() // a path descriptor
	}
}

func (o Opener) openVolume(m wire.Mount) (*os.File, []volume.Source, error) {
	of := volume.Source{Path: m.Source, Follow: m.Follow, Inside: m.Inside, Target: m.Target}
	source, err := of.Open(o.Roots)
	if err != nil {
		return nil, nil, err
	}
	defer source.Close()
	if m.Follow { // without links the path says it, and named volumes are in the node's own folder
		if err := volume.KeepApart(source, o.Own); err != nil {
			return nil, nil, err
		}
	}
	if of.Was, err = checkSource(source, m); err != nil {
		return nil, nil, err
	}
	tree, err := o.clone(source, m)
	if err != nil {
		return nil, nil, err
	}
	return tree, []volume.Source{of}, nil
}

// clone gives a detached mount of an open source.
func (o Opener) clone(source *os.File, m wire.Mount) (*os.File, error) {
	depth := uint(unix.AT_RECURSIVE)
	if o.Alone {
		depth = 0
	}
	fd, err := unix.OpenTree(int(source.Fd()), "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|depth)
	if err != nil {
		return nil, fmt.Errorf("copying the mount of %s: %w", m.Source, err)
	}
	tree := os.NewFile(uintptr(fd), m.Source)
	if err := volume.SetAttributes(tree, o.Mapping.Add(attributes(m)), depth); err != nil {
		return nil, errors.Join(err, tree.Close())
	}
	return tree, nil
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
