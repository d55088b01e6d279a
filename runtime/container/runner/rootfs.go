package runner

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/fcnode/fcnode/runtime/container/mounts"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"golang.org/x/sys/unix"
)

// The files that are made for each container, in /etc.
var madeFiles = []struct {
	name    string
	content func(wire.StartRequest) string
}{
	{"resolv.conf", func(r wire.StartRequest) string { return r.ResolvConf }},
	{"hosts", func(r wire.StartRequest) string { return r.Hosts }},
	{"hostname", func(r wire.StartRequest) string {
		if r.Hostname == "" {
			return ""
		}
		return r.Hostname + "\n"
	}},
}

// makeUpper makes the replica's own folders and puts the made files into the
// upper one, before it is mounted: no bind mounts, no copying up. Those without
// a content stay what the image says.
func makeUpper(req wire.StartRequest, layers mounts.Layers) error {
	for _, dir := range []string{req.Upper, req.Work} {
		if err := mounts.OwnFolder(dir); err != nil {
			return fail(wire.KindRootfs, "making a folder for the root file system: %w", err)
		}
	}
	etc, err := makeEtc(req, layers)
	if err != nil {
		return fail(wire.KindRootfs, "making /etc of container %s: %w", req.ID, err)
	}
	if etc == "" {
		return nil
	}
	for _, f := range madeFiles {
		content := f.content(req)
		if content == "" {
			continue
		}
		// Readable for all, as the container's users are not root.
		if err := os.WriteFile(filepath.Join(etc, f.name), []byte(content), 0o644); err != nil {
			return fail(wire.KindRootfs, "writing /etc/%s of container %s: %w", f.name, req.ID, err)
		}
	}
	return nil
}

// makeEtc makes etc in the upper folder with the attributes of the image's own,
// as an overlay shows those of the upper one. It gives "" for an image in which
// /etc is something else than a folder: that is to be seen as it is.
func makeEtc(req wire.StartRequest, layers mounts.Layers) (string, error) {
	st := unix.Stat_t{Mode: unix.S_IFDIR | 0o755}
	for _, layer := range layers {
		err := unix.Fstatat(int(layer.Fd()), "etc", &st, unix.AT_SYMLINK_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return "", err
		}
		break
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return "", nil
	}
	etc := filepath.Join(req.Upper, "etc")
	if err := os.Mkdir(etc, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return etc, errors.Join(os.Chown(etc, int(st.Uid), int(st.Gid)), unix.Chmod(etc, st.Mode&0o7777))
}

// rootOf is what a request says of the root file system.
func rootOf(req wire.StartRequest) mounts.Root {
	return mounts.Root{ID: req.ID, Target: req.Rootfs, Upper: req.Upper, Work: req.Work, Suid: req.Privileges.New}
}
