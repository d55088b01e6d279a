package entry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/runtime/volume"
)

// Cwd finds what keeps the working folder from being entered. One that is not
// there is made, unless a link leads to it.
func Cwd(root *os.File, req wire.StartRequest) error {
	err := Folder(root, req, path.Join("/", req.Cwd))
	if errors.Is(err, fs.ErrNotExist) && len(req.Mounts) > 0 {
		return nil // it may be in a volume
	}
	if err != nil {
		return wire.Fail(wire.KindExec, "the working folder %s of container %s: %w; set workdir in the spec", req.Cwd, req.ID, err)
	}
	return nil
}

// Folder says why nothing can be mounted at an absolute, clean path, or entered
// there, as a folder. What is not there can be made, but for what a link leads to:
// then the error is fs.ErrNotExist.
func Folder(root *os.File, req wire.StartRequest, target string) error {
	at := ""
	for name := range strings.SplitSeq(strings.TrimPrefix(target, "/"), "/") {
		at += "/" + name
		if hidden(req, at) {
			return nil
		}
		err := isFolder(root, at, 0)
		switch {
		case err == nil:
			continue
		case errors.Is(err, unix.EACCES): // the container's user may see more
			return nil
		case !errors.Is(err, unix.ENOENT):
			return fmt.Errorf("%s of the image cannot be used as a folder: %w", at, err)
		case errors.Is(isFolder(root, at, unix.O_NOFOLLOW), unix.ENOENT):
			return nil // it will be made
		}
		return fmt.Errorf("%s of the image is a link to what is not there: %w", at, fs.ErrNotExist)
	}
	return nil
}

// System finds what keeps the container's own /proc, /sys and /dev from being
// mounted. The first two must be folders right there, no links.
func System(root *os.File) error {
	for _, name := range []string{"/proc", "/sys"} {
		if err := isFolder(root, name, unix.O_NOFOLLOW); err != nil && !errors.Is(err, unix.ENOENT) {
			return wire.Fail(wire.KindRootfs, "%s of the image has to be a folder: %w", name, err)
		}
	}
	if err := isFolder(root, "/dev", 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return wire.Fail(wire.KindRootfs, "/dev of the image has to be a folder: %w", err)
	}
	return nil
}

func isFolder(root *os.File, name string, flags uint64) error {
	fd, err := volume.OpenIn(int(root.Fd()), name, unix.O_PATH|unix.O_DIRECTORY|flags, unix.RESOLVE_IN_ROOT)
	if err != nil {
		return err
	}
	return unix.Close(fd) // a path descriptor
}
