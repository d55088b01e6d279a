package image

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Kind is where a reference's image comes from.
type Kind string

// The kinds of images, as they start a reference.
const (
	KindLayout  Kind = "oci"            // a folder with an OCI image layout
	KindArchive Kind = "docker-archive" // a tar as `docker save` writes it
	KindDir     Kind = "dir"            // a root folder, used in place
)

// Ref is a parsed image reference.
type Ref struct {
	Kind Kind
	Path string // absolute and clean
	Name string // tag of a layout, repository:tag of an archive; empty: the only one there is
}

// String gives the reference as ParseRef takes it.
func (r Ref) String() string {
	s := string(r.Kind) + ":" + r.Path
	if r.Name != "" {
		s += ":" + r.Name
	}
	return s
}

// ParseRef parses "oci:/path[:tag]",
// "docker-archive:/path.tar[:repository:tag]" or "dir:/path" without looking at
// the file system. Its errors are ErrReference, or ErrUnsupported for a
// reference to a registry. What follows the first ":" of an oci or
// docker-archive path is the name, so such a path cannot hold one.
func ParseRef(s string) (Ref, error) {
	scheme, rest, ok := strings.Cut(s, ":")
	kind := Kind(scheme)
	switch {
	case s == "":
		return Ref{}, fmt.Errorf("%w: it is empty; want oci:/path[:tag], docker-archive:/path.tar[:repository:tag] or dir:/path", ErrReference)
	case !ok || (kind != KindLayout && kind != KindArchive && kind != KindDir):
		return Ref{}, fmt.Errorf("%w: %q names a registry, which this version does not read; fetch it with `skopeo copy docker://%s oci:/path:tag` and use oci:/path:tag (also possible: docker-archive:/path.tar, dir:/path)", ErrUnsupported, s, s)
	}
	r := Ref{Kind: kind, Path: rest}
	if kind != KindDir {
		var named bool
		if r.Path, r.Name, named = strings.Cut(rest, ":"); named && r.Name == "" {
			return Ref{}, fmt.Errorf("%w: %q ends in \":\"; leave that out or name a tag", ErrReference, s)
		}
	}
	if !filepath.IsAbs(r.Path) {
		return Ref{}, fmt.Errorf("%w: path %q in %q is not absolute; write %s:/path", ErrReference, r.Path, s, kind)
	}
	if strings.ContainsRune(r.Path, 0) {
		return Ref{}, fmt.Errorf("%w: the path in %q has a NUL byte", ErrReference, s)
	}
	r.Path = filepath.Clean(r.Path)
	return r, nil
}
