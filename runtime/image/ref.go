package image

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// Kind is where a reference's image comes from.
type Kind string

// The kinds of images, as they start a reference.
const (
	KindLayout  Kind = "oci"            // a folder with an OCI image layout
	KindArchive Kind = "docker-archive" // a tar as `docker save` writes it
	KindDir     Kind = "dir"            // a root folder, used in place

	KindRegistry Kind = "registry" // what its host, port and path name
)

// Ref is a parsed image reference.
type Ref struct {
	Kind Kind
	Path string // absolute and clean; empty of a registry's
	Name string // tag of a layout, repository:tag of an archive; empty: the only one there is; of a registry's: all of it
}

// String gives the reference as ParseRef takes it.
func (r Ref) String() string {
	if r.Kind == KindRegistry {
		return r.Name
	}
	s := string(r.Kind) + ":" + r.Path
	if r.Name != "" {
		s += ":" + r.Name
	}
	return s
}

// ParseRef parses "registry.example/path[:tag][@digest]", "oci:/path[:tag]",
// "docker-archive:/path.tar[:repository:tag]" or "dir:/path" without looking at
// the file system. Its errors are ErrReference. What follows the first ":" of an
// oci or docker-archive path is the name, so such a path cannot hold one.
func ParseRef(s string) (Ref, error) {
	if s == "" {
		return Ref{}, fmt.Errorf("%w: it is empty; want registry.example/path:tag, oci:/path[:tag], docker-archive:/path.tar[:repository:tag] or dir:/path", ErrReference)
	}
	scheme, rest, ok := strings.Cut(s, ":")
	kind := Kind(scheme)
	if !ok || (kind != KindLayout && kind != KindArchive && kind != KindDir) {
		return parseRegistry(s)
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

// AtDigest is the reference of the image of that digest in the registry that ref
// is of; not ok: it is of none.
func AtDigest(ref, digest string) (exact string, ok bool) {
	r, err := ParseRef(ref)
	if err != nil || r.Kind != KindRegistry {
		return "", false
	}
	repository, _, _ := strings.Cut(r.Name, "@")
	if i := strings.LastIndex(repository, ":"); i > strings.LastIndex(repository, "/") {
		repository = repository[:i]
	}
	return repository + "@" + digest, true
}

// parseRegistry parses the name of an image in a registry. The host has to be
// there: which registry a short name means should be nobody's guess.
func parseRegistry(s string) (Ref, error) {
	host, path, ok := strings.Cut(s, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		full := "docker.io/" + s
		if !ok {
			full = "docker.io/library/" + s
		}
		return Ref{}, fmt.Errorf("%w: %q names no registry; did you mean %s?", ErrReference, s, full)
	}
	if host == "docker:" {
		return Ref{}, fmt.Errorf("%w: %q has a scheme; write %s", ErrReference, s, strings.TrimLeft(path, "/"))
	}
	if i := strings.LastIndex(host, ":"); i >= 0 && !strings.HasSuffix(host, "]") {
		if _, err := strconv.ParseUint(host[i+1:], 10, 16); err != nil {
			return Ref{}, fmt.Errorf("%w: %q is neither an image in a registry nor one of oci:/path[:tag], docker-archive:/path.tar[:repository:tag], dir:/path", ErrReference, s)
		}
	}
	if _, err := name.ParseReference(s); err != nil {
		return Ref{}, fmt.Errorf("%w: %w", ErrReference, err)
	}
	return Ref{Kind: KindRegistry, Name: s}, nil
}
