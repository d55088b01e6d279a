package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// archiveSource is an image in a `docker save` archive. Its digest is the image
// id, the digest of the config: the only digest such an archive has, and it
// covers the diff ids of all layers.
type archiveSource struct {
	ref   Ref
	cache *archiveCache
	log   *slog.Logger
}

func openArchive(ref Ref, cache *archiveCache, log *slog.Logger) (*archiveSource, error) {
	fi, err := os.Stat(ref.Path)
	if err != nil {
		return nil, fmt.Errorf("%w (make it with `docker save -o %s repository:tag`)", missing(err), ref.Path)
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is not a regular file; for an OCI layout folder write oci:%s, for a root folder dir:%s", ErrUnsupported, ref.Path, ref.Path, ref.Path)
	}
	return &archiveSource{ref: ref, cache: cache, log: log}, nil
}

func (a *archiveSource) digest(context.Context) (v1.Hash, error) {
	// The identity is taken before reading: a file replaced meanwhile is read
	// again next time.
	id, err := identify(a.ref.Path)
	if err != nil {
		return v1.Hash{}, missing(err)
	}
	if h, ok := a.cache.get(a.ref, id); ok {
		return h, nil
	}
	_, raw, err := a.load()
	if err != nil {
		return v1.Hash{}, err
	}
	h, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return v1.Hash{}, err
	}
	if err := a.cache.put(a.ref, id, h); err != nil {
		a.log.Warn("every start of this image will read its archive", "error", err) // a full disk must not stop a start
	}
	return h, nil
}

func (a *archiveSource) contents(_ context.Context, want v1.Hash) (*contents, error) {
	img, raw, err := a.load()
	if err != nil {
		return nil, err
	}
	if _, err := readDocument(bytes.NewReader(raw), want); err != nil {
		return nil, fmt.Errorf("archive %s changed while it was read: %w", a.ref.Path, err)
	}
	config, diffIDs, err := parseConfig(raw)
	if err != nil {
		return nil, err
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, fmt.Errorf("%w: layers of archive %s: %w", ErrCorrupt, a.ref.Path, err)
	}
	if len(layers) != len(diffIDs) {
		return nil, fmt.Errorf("%w: archive %s has %d layers, its config %d", ErrCorrupt, a.ref.Path, len(layers), len(diffIDs))
	}
	c := &contents{config: config}
	for i, l := range layers {
		c.layers = append(c.layers, layerBlob{diffID: diffIDs[i], open: func() (io.ReadCloser, error) {
			r, err := l.Uncompressed()
			if err != nil {
				return nil, fmt.Errorf("%w: archive %s: %w", ErrCorrupt, a.ref.Path, err)
			}
			return r, nil
		}})
	}
	return c, nil
}

// load finds the image in the archive and reads its config.
func (a *archiveSource) load() (v1.Image, []byte, error) {
	open := func() (io.ReadCloser, error) { return os.Open(a.ref.Path) }
	m, err := tarball.LoadManifest(open)
	if err != nil {
		if errors.Is(err, os.ErrPermission) {
			return nil, nil, err
		}
		return nil, nil, fmt.Errorf("%w: %s is no `docker save` archive, which is an uncompressed tar with a manifest.json (gunzip a gzipped one; `tar -xf` an OCI archive and write oci:/folder): %w", ErrCorrupt, a.ref.Path, err)
	}
	tag, err := a.pick(m)
	if err != nil {
		return nil, nil, err
	}
	img, err := tarball.Image(open, tag)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: archive %s: %w", ErrCorrupt, a.ref.Path, err)
	}
	raw, err := img.RawConfigFile()
	if err != nil {
		return nil, nil, fmt.Errorf("%w: config in archive %s: %w", ErrCorrupt, a.ref.Path, err)
	}
	return img, raw, nil
}

// pick gives the tag to ask the archive for; nil means its only image.
func (a *archiveSource) pick(m tarball.Manifest) (*name.Tag, error) {
	var names []string
	for _, d := range m {
		names = append(names, d.RepoTags...)
	}
	list := strings.Join(names, ", ")
	switch {
	case len(m) == 0:
		return nil, fmt.Errorf("%w: archive %s holds no image", ErrNotFound, a.ref.Path)
	case a.ref.Name == "" && len(m) == 1:
		return nil, nil
	case a.ref.Name == "":
		return nil, fmt.Errorf("%w: archive %s holds several; name one: %s", ErrNotFound, a.ref.Path, list)
	}
	tag, err := name.NewTag(a.ref.Name)
	if err != nil {
		return nil, fmt.Errorf("%w: %q: %w", ErrReference, a.ref.Name, err)
	}
	for _, n := range names {
		if t, err := name.NewTag(n); err == nil && t.Name() == tag.Name() {
			return &tag, nil
		}
	}
	return nil, fmt.Errorf("%w: archive %s has no %q; it has: %s", ErrNotFound, a.ref.Path, a.ref.Name, list)
}
