package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

const (
	annotationRefName       = "org.opencontainers.image.ref.name" // image-spec, annotations.md
	annotationContainerdRef = "io.containerd.image.name"          // what `docker save` and ctr write: repository:tag
)

// layoutSource is an image in an OCI layout folder.
type layoutSource struct {
	path layout.Path
	tag  string
}

func openLayout(ref Ref) (*layoutSource, error) {
	fi, err := os.Stat(ref.Path)
	if err != nil {
		return nil, fmt.Errorf("%w (make it with `skopeo copy docker://… oci:%s:tag`)", missing(err), ref.Path)
	}
	if !fi.IsDir() {
		return nil, fmt.Errorf("%w: %s is a file, an OCI layout is a folder; for a `docker save` archive write docker-archive:%s", ErrUnsupported, ref.Path, ref.Path)
	}
	return &layoutSource{path: layout.Path(ref.Path), tag: ref.Name}, nil
}

func (l *layoutSource) digest(context.Context) (v1.Hash, error) {
	index, err := l.path.ImageIndex()
	if errors.Is(err, fs.ErrNotExist) {
		return v1.Hash{}, fmt.Errorf("%w: %s has no index.json, so it is no OCI layout", ErrNotFound, l.path)
	} else if err != nil {
		return v1.Hash{}, fmt.Errorf("read the index of layout %s: %w", l.path, err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		return v1.Hash{}, fmt.Errorf("%w: %s/index.json: %w", ErrCorrupt, l.path, err)
	}
	candidates, err := l.tagged(m.Manifests)
	if err != nil {
		return v1.Hash{}, err
	}
	d, err := pickPlatform(candidates, l.index)
	if err != nil {
		return v1.Hash{}, err
	}
	return d.Digest, nil
}

// tagged gives the descriptors that the reference's tag names; without a tag
// all, if they have one name.
func (l *layoutSource) tagged(all []v1.Descriptor) ([]v1.Descriptor, error) {
	var names []string
	var found []v1.Descriptor
	for _, d := range all {
		name := d.Annotations[annotationRefName]
		full := d.Annotations[annotationContainerdRef]
		if name == "" {
			name = full
		}
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
		if l.tag == "" || name == l.tag || (full != "" && (full == l.tag || strings.HasSuffix(full, ":"+l.tag))) {
			found = append(found, d)
		}
	}
	switch {
	case l.tag == "" && len(names) > 1:
		return nil, fmt.Errorf("%w: layout %s holds several; name one: %s", ErrNotFound, l.path, strings.Join(names, ", "))
	case len(found) == 0 && len(names) == 0:
		return nil, fmt.Errorf("%w: layout %s holds no image named %q, nor any with a name", ErrNotFound, l.path, l.tag)
	case len(found) == 0:
		return nil, fmt.Errorf("%w: layout %s has no tag %q; it has: %s", ErrNotFound, l.path, l.tag, strings.Join(names, ", "))
	}
	return found, nil
}

// index reads a nested index.
func (l *layoutSource) index(h v1.Hash) ([]v1.Descriptor, error) {
	raw, err := l.document(h)
	if err != nil {
		return nil, err
	}
	m, err := v1.ParseIndexManifest(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("%w: index %s: %w", ErrCorrupt, h, err)
	}
	return m.Manifests, nil
}

func (l *layoutSource) contents(_ context.Context, h v1.Hash) (*contents, error) {
	raw, err := l.document(h)
	if err != nil {
		return nil, err
	}
	m, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("%w: manifest %s: %w", ErrCorrupt, h, err)
	}
	return readManifest(h, m, func(d v1.Descriptor) func() (io.ReadCloser, error) {
		return func() (io.ReadCloser, error) { return l.blob(d.Digest) }
	})
}

func (l *layoutSource) document(h v1.Hash) ([]byte, error) {
	r, err := l.blob(h)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return readDocument(r, h)
}

// blob opens a blob; one that the layout lists but does not hold makes the
// layout corrupt.
func (l *layoutSource) blob(h v1.Hash) (io.ReadCloser, error) {
	if h.Algorithm != "sha256" {
		return nil, fmt.Errorf("%w: digest %s is not a sha256", ErrUnsupported, h)
	}
	r, err := l.path.Blob(h)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: layout %s lists %s but does not hold it; copy the image again", ErrCorrupt, l.path, h)
	} else if err != nil {
		return nil, fmt.Errorf("open %s of layout %s: %w", h, l.path, err)
	}
	return r, nil
}
