//go:build linux

package mounts

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"golang.org/x/sys/unix"
)

// Root says what a replica's root file system is made of.
type Root struct {
	ID          string   // of the container, for messages
	Target      string   // where it is mounted
	Lower       []string // top first
	Upper, Work string
}

// Overlay mounts a replica's root file system. The folders are named by
// descriptors: mount(2) takes one page of options, which the names of some
// twenty layers would fill, and names may contain the characters that separate
// options. The mount is volatile (no sync of the upper folder, ever): what a
// replica writes outside of its volumes dies with it.
func Overlay(r Root) error {
	if len(r.Lower) == 0 {
		return wire.Fail(wire.KindRootfs, "container %s has no root file system: its image has no layers", r.ID)
	}
	var fds fdPaths
	defer fds.close()
	lower := make([]string, len(r.Lower))
	for i, dir := range r.Lower {
		lower[i] = fds.open(dir)
	}
	opts := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s",
		strings.Join(lower, ":"), fds.open(r.Upper), fds.open(r.Work))
	if fds.err != nil {
		return wire.Fail(wire.KindRootfs, "opening the root file system of container %s: %w", r.ID, fds.err)
	}
	if len(opts) >= os.Getpagesize()-len(",volatile") {
		return wire.Fail(wire.KindRootfs, "the image of container %s has %d layers, more than can be mounted", r.ID, len(lower))
	}
	err := unix.Mount("overlay", r.Target, "overlay", 0, opts+",volatile")
	if errors.Is(err, unix.EINVAL) { // an upper file system or kernel (before 5.10) that cannot
		err = unix.Mount("overlay", r.Target, "overlay", 0, opts)
	}
	if err != nil {
		return wire.Fail(wire.KindRootfs, "mounting the root file system of container %s (overlay of %s): %w",
			r.ID, strings.Join(r.Lower, ", "), err)
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
