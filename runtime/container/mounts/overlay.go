package mounts

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/runtime/volume"
	"golang.org/x/sys/unix"
)

// Root says what a replica's root file system is made of.
type Root struct {
	ID          string // of the container, for messages
	Target      string // where it is mounted
	Upper, Work string
	Suid        bool // set-user-ID bits and file capabilities count
}

// rootFlags are those of the mount of a root file system.
func rootFlags(suid bool) uintptr {
	if suid {
		return unix.MS_NODEV
	}
	return unix.MS_NODEV | unix.MS_NOSUID
}

// Layers are the open folders of an image, top first.
type Layers []*os.File

// OpenLayers opens the folders of an image. They may lie where strangers can
// rename things (dir: images), so no symbolic link is followed.
func OpenLayers(id string, dirs []string) (Layers, error) {
	if len(dirs) == 0 {
		return nil, wire.Fail(wire.KindRootfs, "container %s has no root file system: its image has no layers", id)
	}
	var layers Layers
	for _, dir := range dirs {
		f, err := volume.OpenDir(dir)
		if err != nil {
			layers.Close()
			return nil, wire.Fail(wire.KindRootfs, "opening the root file system of container %s: %w", id, err)
		}
		layers = append(layers, f)
	}
	return layers, nil
}

// Close closes them. What is mounted of them stays.
func (l Layers) Close() {
	for _, f := range l {
		_ = f.Close() // a path descriptor
	}
}

func (l Layers) String() string {
	names := make([]string, len(l))
	for i, f := range l {
		names[i] = f.Name()
	}
	return strings.Join(names, ", ")
}

// OwnFolder makes a folder of a replica that is a part of its root file system,
// with a parent that only the node may enter: what a site writes, set-user-ID
// programs among it, is nobody's to find on the machine.
func OwnFolder(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// Overlay mounts a replica's root file system. The folders are named by
// descriptors: mount(2) takes one page of options, which the names of some
// twenty layers would fill, and names may contain the characters that separate
// options. The mount is volatile (no sync of the upper folder, ever): what a
// replica writes outside of its volumes dies with it. Processes of the machine
// may reach it by /proc/PID/root; so devices do not work, and neither do
// set-user-ID bits unless the site uses them itself (in no other mount
// namespace than its own do they count then).
func (l Layers) Overlay(r Root) error {
	var fds fdPaths
	defer fds.close()
	lower := make([]string, len(l))
	for i, f := range l {
		lower[i] = fdPath(f)
	}
	opts := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s",
		strings.Join(lower, ":"), fds.open(r.Upper), fds.open(r.Work))
	if fds.err != nil {
		return wire.Fail(wire.KindRootfs, "opening the root file system of container %s: %w", r.ID, fds.err)
	}
	if len(opts) >= os.Getpagesize()-len(",volatile") {
		return wire.Fail(wire.KindRootfs, "the image of container %s has %d layers, more than can be mounted", r.ID, len(lower))
	}
	flags := rootFlags(r.Suid)
	err := unix.Mount("overlay", r.Target, "overlay", flags, opts+",volatile")
	if errors.Is(err, unix.EINVAL) { // an upper file system or kernel (before 5.10) that cannot
		err = unix.Mount("overlay", r.Target, "overlay", flags, opts)
	}
	if err != nil {
		return wire.Fail(wire.KindRootfs, "mounting the root file system of container %s (overlay of %s): %w",
			r.ID, l, err)
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
	return fdPath(f)
}

func fdPath(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }

func (p *fdPaths) close() {
	for _, f := range p.files {
		_ = f.Close() // path descriptors
	}
}
