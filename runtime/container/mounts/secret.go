package mounts

import (
	"fmt"
	"os"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/runtime/secret"
	"github.com/fcnode/fcnode/runtime/volume"
	"golang.org/x/sys/unix"
)

// secretSource is what secrets are mounted from, as the list of mounts shows it.
const secretSource = "fcnode-secret"

// secretFile is the file of a secret that is no folder, in its file system.
const secretFile = "secret"

// openSecret reads a secret and makes a detached mount with a copy of it. The file
// system is ramfs: what is in it is never pushed out to swap, and as nobody can write to
// it, it stays as small as it is. Give says whose it is.
func (o Opener) openSecret(m wire.Mount) (*os.File, []volume.Source, error) {
	s, err := secret.Read(o.Secrets, m.Source)
	if err != nil {
		return nil, nil, err
	}
	if was := s.Sources[0].Was; !m.Was.IsZero() && !was.Is(m.Was) {
		return nil, nil, volume.ErrOther
	}
	for i := range s.Sources {
		s.Sources[i].Target = m.Target
	}
	tree, err := newMount("ramfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC, "source="+secretSource)
	if err != nil {
		return nil, nil, fmt.Errorf("make a file system in memory for secret %s: %w", m.Source, err)
	}
	if err := o.fill(tree, s, m.Secret.Mode); err != nil {
		_ = tree.Close() // nobody has seen it
		return nil, nil, fmt.Errorf("copy secret %s into memory: %w", m.Source, err)
	}
	if !s.Folder {
		if tree, err = o.fileOf(tree); err != nil {
			return nil, nil, fmt.Errorf("mount secret %s: %w", m.Source, err)
		}
	}
	return tree, s.Sources, nil
}

// fill writes a secret's files. They belong to the root of the container's user
// namespace, who can give them away.
func (o Opener) fill(tree *os.File, s secret.Secret, mode uint32) error {
	owner := 0
	if o.Mapping != nil {
		owner = int(o.Mapping.Root)
	}
	for _, f := range s.Files {
		name := f.Name
		if !s.Folder {
			name = secretFile
		}
		if err := write(int(tree.Fd()), name, f.Content, mode, owner); err != nil {
			return err
		}
	}
	if err := unix.Fchownat(int(tree.Fd()), ".", owner, owner, 0); err != nil {
		return err
	}
	return unix.Fchmodat(int(tree.Fd()), ".", mode|mode>>2&0o111, 0) // who can read it can enter it
}

func write(dir int, name string, content []byte, mode uint32, owner int) error {
	fd, err := unix.Openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close() // in memory
	if _, err := f.Write(content); err != nil {
		return err
	}
	if err := unix.Fchown(fd, owner, owner); err != nil {
		return err
	}
	return unix.Fchmod(fd, mode)
}

// fileOf gives a mount of the file alone, in place of that of its file system. For
// a moment this is mounted: before Linux 6.15 nothing is cloned of what is mounted nowhere.
func (o Opener) fileOf(tree *os.File) (file *os.File, err error) {
	_, err = Layers{tree}.attached(o.Attach, func() (*os.File, error) {
		file, err = CloneFolder(o.Attach + "/" + secretFile)
		return nil, err
	})
	_ = tree.Close() // unmounted
	return file, err
}

// Give makes a secret that was opened a user's, and read-only.
func Give(tree *os.File, u *User) error {
	folder, err := IsFolder(tree)
	if err != nil {
		return err
	}
	if folder {
		if err := giveFiles(tree, u); err != nil {
			return err
		}
	}
	if err := unix.Fchownat(int(tree.Fd()), "", u.UID, u.GID, unix.AT_EMPTY_PATH); err != nil {
		return &os.PathError{Op: "chown", Path: tree.Name(), Err: err}
	}
	return volume.SetAttributes(tree, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY, Propagation: unix.MS_PRIVATE}, 0)
}

func giveFiles(tree *os.File, u *User) error {
	fd, err := unix.Openat(int(tree.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: tree.Name(), Err: err}
	}
	dir := os.NewFile(uintptr(fd), tree.Name())
	defer dir.Close() // read only
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := unix.Fchownat(fd, name, u.UID, u.GID, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return &os.PathError{Op: "chown", Path: name, Err: err}
		}
	}
	return nil
}

// Variables gives the variables of the environment that are secrets, as NAME=VALUE,
// and what they were read from.
func (o Opener) Variables(list []wire.SecretVariable) (env []string, sources []volume.Source, err error) {
	for _, v := range list {
		s, err := secret.Read(o.Secrets, v.Source)
		var value string
		if err == nil {
			value, err = s.Variable(v.Name)
		}
		if err != nil {
			return nil, nil, wire.Fail(wire.KindMount, "variable %s of container %s: %w", v.Name, o.ID, err)
		}
		env = append(env, v.Name+"="+value)
		sources = append(sources, s.Sources...)
	}
	return env, sources, nil
}
