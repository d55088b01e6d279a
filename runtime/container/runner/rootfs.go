//go:build linux

package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"golang.org/x/sys/unix"
)

// mountRootfs mounts the replica's overlay. The folders are named by
// descriptors: mount(2) takes one page of options, which the names of some
// twenty layers would fill, and names may contain the characters that separate
// options. The mount is volatile (no sync of the upper folder, ever): what a
// replica writes outside of its volumes dies with it.
func mountRootfs(req wire.StartRequest) error {
	if len(req.Lower) == 0 {
		return fail(wire.KindRootfs, "container %s has no root file system: its image has no layers", req.ID)
	}
	var fds fdPaths
	defer fds.close()
	lower := make([]string, len(req.Lower))
	for i, dir := range req.Lower {
		lower[i] = fds.open(dir)
	}
	opts := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s",
		strings.Join(lower, ":"), fds.open(req.Upper), fds.open(req.Work))
	if fds.err != nil {
		return fail(wire.KindRootfs, "opening the root file system of container %s: %w", req.ID, fds.err)
	}
	if len(opts) >= os.Getpagesize()-len(",volatile") {
		return fail(wire.KindRootfs, "the image of container %s has %d layers, more than can be mounted", req.ID, len(lower))
	}
	err := unix.Mount("overlay", req.Rootfs, "overlay", 0, opts+",volatile")
	if errors.Is(err, unix.EINVAL) { // an upper file system or kernel (before 5.10) that cannot
		err = unix.Mount("overlay", req.Rootfs, "overlay", 0, opts)
	}
	if err != nil {
		return fail(wire.KindRootfs, "mounting the root file system of container %s (overlay of %s): %w",
			req.ID, strings.Join(req.Lower, ", "), err)
	}
	return nil
}

// fdPaths opens folders and names them by their descriptors.
type fdPaths struct {
	files []*os.File
	err   error // the first
}

func (p *fdPaths) open(dir string) string {
	f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		if p.err == nil {
			p.err = err
		}
		return ""
	}
	p.files = append(p.files, f)
	return "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
}

func (p *fdPaths) close() {
	for _, f := range p.files {
		_ = f.Close() // path descriptors
	}
}

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
func (g *gate) makeUpper() error {
	for _, dir := range []string{g.req.Upper, g.req.Work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fail(wire.KindRootfs, "making a folder for the root file system: %w", err)
		}
	}
	etc, err := makeEtc(g.req)
	if err != nil {
		return fail(wire.KindRootfs, "making /etc of container %s: %w", g.req.ID, err)
	}
	if etc == "" {
		return nil
	}
	for _, f := range madeFiles {
		content := f.content(g.req)
		if content == "" {
			continue
		}
		// Readable for all, as the container's users are not root.
		if err := os.WriteFile(filepath.Join(etc, f.name), []byte(content), 0o644); err != nil {
			return fail(wire.KindRootfs, "writing /etc/%s of container %s: %w", f.name, g.req.ID, err)
		}
	}
	return nil
}

// makeEtc makes etc in the upper folder with the attributes of the image's own,
// as an overlay shows those of the upper one. It gives "" for an image in which
// /etc is something else than a folder: that is to be seen as it is.
func makeEtc(req wire.StartRequest) (string, error) {
	st := unix.Stat_t{Mode: unix.S_IFDIR | 0o755}
	for _, layer := range req.Lower {
		err := unix.Lstat(filepath.Join(layer, "etc"), &st)
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

// openIn opens a file of a root file system, never leaving it by links or "..".
func openIn(root *os.File, path string) (*os.File, error) {
	fd, err := unix.Openat2(int(root.Fd()), path, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}
