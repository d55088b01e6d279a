package image

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/fcnode/fcnode/runtime/volume"
)

// overlaySpecial are the characters that separate things in overlayfs's mount
// options. They can be escaped there, but not through every tool and kernel on
// the way.
const overlaySpecial = ":,\\\"\n"

// resolveDir makes an image of a plain root folder, which is used in place. It
// may belong to a tenant: who mounts it opens it again without following links.
func (s *Store) resolveDir(ref Ref) (*Image, error) {
	path := filepath.Clean(ref.Path)
	dir, err := volume.Open(s.roots, path)
	if err != nil {
		return nil, missing(err)
	}
	defer dir.Close()
	fi, err := dir.Stat()
	if err != nil {
		return nil, missing(err)
	}
	if !fi.IsDir() {
		return nil, fmt.Errorf("%w: %s is not a folder; for an archive write docker-archive:%s", ErrUnsupported, path, path)
	}
	if err := overlayPath(path); err != nil {
		return nil, err
	}
	for _, r := range append([]string{s.dir}, s.reserved...) {
		if err := keepApart(path, fi, r); err != nil {
			return nil, err
		}
	}
	id, err := identify(path)
	if err != nil {
		return nil, missing(err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%d", path, id.Inode, id.MTime))
	return &Image{Ref: ref.String(), Digest: "sha256:" + hex.EncodeToString(sum[:]), Lower: []string{path}}, nil
}

// overlayPath refuses a folder that overlayfs's mount options cannot name.
func overlayPath(path string) error {
	if i := strings.IndexAny(path, overlaySpecial); i >= 0 {
		return fmt.Errorf("%w: folder %q has a %q, which overlayfs takes for a separator; rename it or bind mount it elsewhere", ErrUnsupported, path, path[i])
	}
	return nil
}

// keepApart refuses an image folder that contains a reserved folder or lies in
// it: a container would see fcnode's own state, other sites included. Folders
// are compared by identity, so that bind mounts do not hide one in the other.
func keepApart(path string, fi os.FileInfo, reserved string) error {
	if path == "/" {
		return fmt.Errorf("%w: / is this machine's own root folder; make one for the site", ErrEscape)
	}
	if above, err := isAbove(fi, reserved); err != nil {
		return err
	} else if above {
		return fmt.Errorf("%w: folder %s is or contains %s, which belongs to fcnode", ErrEscape, path, reserved)
	}
	own, err := os.Stat(reserved)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("compare %s with the folders of fcnode: %w", path, err)
	}
	if below, err := isAbove(own, path); err != nil {
		return err
	} else if below {
		return fmt.Errorf("%w: folder %s lies in %s, which belongs to fcnode", ErrEscape, path, reserved)
	}
	return nil
}

// isAbove tells whether dir is path or one of the folders above it.
func isAbove(dir os.FileInfo, path string) (bool, error) {
	for p := path; ; p = filepath.Dir(p) {
		fi, err := os.Stat(p)
		switch {
		case errors.Is(err, fs.ErrNotExist): // a folder that fcnode will make: those above it count
		case err != nil:
			return false, fmt.Errorf("compare folders: %w", err)
		case os.SameFile(fi, dir):
			return true, nil
		}
		if p == "/" {
			return false, nil
		}
	}
}
