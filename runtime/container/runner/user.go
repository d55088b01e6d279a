//go:build linux

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

// lookUser finds the user of an image's configuration ("", "name", "uid",
// "name:group", "uid:gid") in the root file system's own passwd and group.
func lookUser(root *os.File, spec string) (*user, error) {
	if spec == "" {
		return &user{}, nil
	}
	var passwd, group io.Reader // nil where the image has none: numbers work without
	if f, err := openIn(root, "/etc/passwd"); err == nil {
		defer f.Close() // read only
		passwd = f
	}
	if f, err := openIn(root, "/etc/group"); err == nil {
		defer f.Close() // read only
		group = f
	}
	u, err := mobyuser.GetExecUser(spec, nil, passwd, group)
	if err != nil {
		return nil, fail(wire.KindUser, "user %q: %w; it has to be a number or in /etc/passwd of the image", spec, err)
	}
	return &user{uid: u.Uid, gid: u.Gid, groups: u.Sgids}, nil
}
