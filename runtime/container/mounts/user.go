package mounts

import (
	"errors"
	"io"
	"os"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/runtime/volume"
	mobyuser "github.com/moby/sys/user"
	"golang.org/x/sys/unix"
)

// User is whom a process runs as, or whose a file is.
type User struct {
	UID, GID int
	Groups   []int
}

// maxTable is how much of passwd and group is read.
const maxTable = 4 << 20

// openTable opens passwd or group; nil if there is none. Anything but a file is
// none: who wrote the image could have a pipe read for ever.
func openTable(root *os.File, path string) *os.File {
	f, err := OpenIn(root, path)
	if err != nil {
		return nil
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		_ = f.Close() // not it
		return nil
	}
	return f
}

// LookUser finds the user of an image's configuration ("", "name", "uid",
// "name:group", "uid:gid") in the root file system's own passwd and group.
func LookUser(root *os.File, spec string) (*User, error) {
	if spec == "" {
		return &User{}, nil
	}
	var passwd, group io.Reader // nil where the image has none: numbers work without
	if f := openTable(root, "/etc/passwd"); f != nil {
		defer f.Close() // read only
		passwd = io.LimitReader(f, maxTable)
	}
	if f := openTable(root, "/etc/group"); f != nil {
		defer f.Close() // read only
		group = io.LimitReader(f, maxTable)
	}
	u, err := mobyuser.GetExecUser(spec, nil, passwd, group)
	if err != nil {
		return nil, wire.Fail(wire.KindUser, "user %q: %w; it has to be a number or in /etc/passwd of the image", spec, err)
	}
	return &User{UID: u.Uid, GID: u.Gid, Groups: u.Sgids}, nil
}

// Within says whether a user namespace of a site has the user and all of its
// groups; for one without such a namespace there is nothing to ask.
func (u *User) Within() error {
	for _, id := range append([]int{u.UID, u.GID}, u.Groups...) {
		if id >= wire.IDCount {
			return wire.Fail(wire.KindUser, "user or group %d is none of the site's user namespace, which has 0 to %d: use a lower number, or userns: host", id, wire.IDCount-1)
		}
	}
	return nil
}

// OpenIn opens a file or folder of a root file system, never leaving it by links
// or "..". Of a device node the opening alone may do something.
func OpenIn(root *os.File, path string) (*os.File, error) {
	fail := func(err error) error { return &os.PathError{Op: "open", Path: path, Err: err} }
	place, err := volume.OpenIn(int(root.Fd()), path, unix.O_PATH, unix.RESOLVE_IN_ROOT)
	if err != nil {
		return nil, fail(err)
	}
	defer unix.Close(place) // a path descriptor
	var st unix.Stat_t
	if err := unix.Fstat(place, &st); err != nil {
		return nil, fail(err)
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFDIR {
		return nil, fail(errors.New("it is neither a file nor a folder"))
	}
	fd, err := volume.OpenIn(int(root.Fd()), path, unix.O_RDONLY|unix.O_NONBLOCK, unix.RESOLVE_IN_ROOT)
	if err != nil {
		return nil, fail(err)
	}
	return os.NewFile(uintptr(fd), path), nil
}
