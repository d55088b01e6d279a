package image

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxLinks bounds the symbolic links in one path, as the kernel does
// (path_resolution(7)).
const maxLinks = 40

// merged looks files up in unpacked layers, the top one first, as overlayfs
// would show them. It does not mount them: that takes rights that unpacking
// does not need, and fsconfig(2) takes no long lists of layers before Linux
// 6.5.
type merged []string

// mergedFile is a file of the merged view.
type mergedFile struct {
	name string // in the merged view: relative, without symbolic links but itself
	path string // in its layer
	info os.FileInfo
}

// find looks name up, relative to the root, following the symbolic links on
// the way (as chroot would) but not the last component.
func (m merged) find(name string) (mergedFile, bool, error) {
	rest := components(name)
	var at []string
	links := 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		if part == ".." {
			at = at[:max(0, len(at)-1)]
			continue
		}
		f, ok, err := m.lookup(filepath.Join(append(at, part)...))
		if err != nil || !ok || len(rest) == 0 {
			return f, ok, err
		}
		switch {
		case f.info.Mode()&os.ModeSymlink != 0:
			if links++; links > maxLinks {
				return mergedFile{}, false, fmt.Errorf("%w: symbolic links go in a circle at %q", ErrCorrupt, name)
			}
			target, err := os.Readlink(f.path)
			if err != nil {
				return mergedFile{}, false, err
			}
			if filepath.IsAbs(target) {
				at = nil
			}
			rest = append(components(target), rest...)
		case f.info.IsDir():
			at = append(at, part)
		default:
			return mergedFile{}, false, nil
		}
	}
	return mergedFile{}, false, nil // the root itself, which no caller wants
}

// components splits a path without the parts that mean nothing. ".." stays:
// what it means depends on symbolic links.
func components(name string) []string {
	var parts []string
	for p := range strings.SplitSeq(name, "/") {
		if p != "" && p != "." {
			parts = append(parts, p)
		}
	}
	return parts
}

// lookup finds name, in which no folder is a symbolic link.
func (m merged) lookup(name string) (mergedFile, bool, error) {
	for _, layer := range m {
		fi, ends, err := lookupLayer(layer, name)
		if err != nil {
			return mergedFile{}, false, err
		}
		if fi != nil {
			return mergedFile{name: name, path: filepath.Join(layer, name), info: fi}, true, nil
		}
		if ends {
			break
		}
	}
	return mergedFile{}, false, nil
}

// lookupLayer finds name in one layer. ends tells that this layer hides name in
// those below.
func lookupLayer(layer, name string) (fi os.FileInfo, ends bool, err error) {
	parts := components(name)
	path := layer
	for i, part := range parts {
		opaque, err := isOpaque(path)
		if err != nil {
			return nil, false, err
		}
		ends = ends || opaque
		path = filepath.Join(path, part)
		fi, err := os.Lstat(path)
		switch {
		case errors.Is(err, iofs.ErrNotExist):
			return nil, ends, nil
		case err != nil:
			return nil, false, err
		case isWhiteout(fi):
			return nil, true, nil
		case i == len(parts)-1:
			return fi, true, nil
		case !fi.IsDir():
			return nil, true, nil
		}
	}
	return nil, true, nil
}
