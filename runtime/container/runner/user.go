package runner

import (
	"io"
	"os"

	"github.com/fcnode/fcnode/runtime/container/wire"
	mobyuser "github.com/moby/sys/user"
)

// user is whom a process runs as.
type user struct {
	uid, gid int
	groups   []int
}

// maxTable is how much of passwd and group is read.
const maxTable = 4 << 20

// openTable opens passwd or group; nil if there is none. Anything but a file is
// none: who wrote the image could have a pipe read for ever.
func openTable(root *os.File, path string) *os.File {
	f, err := openIn(root, path)
	if err != nil {
		return nil
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		_ = f.Close() // not it
		return nil
	}
	return f
}

// lookUser finds the user of an image's configuration ("", "name", "uid",
// "name:group", "uid:gid") in the root file system's own passwd and group.
func lookUser(root *os.File, spec string) (*user, error) {
	if spec == "" {
		return &user{}, nil
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
		return nil, fail(wire.KindUser, "user %q: %w; it has to be a number or in /etc/passwd of the image", spec, err)
	}
	return &user{uid: u.Uid, gid: u.Gid, groups: u.Sgids}, nil
}
