package build

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/google/go-containerregistry/pkg/compression"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/match"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/fcnode/fcnode/runtime/image"
)

// Compression is how a layer is stored.
type Compression int

// The compressions that an image can have.
const (
	Gzip Compression = iota
	Zstd
	None
)

// Layer is one layer of an image.
type Layer struct {
	Entries     []Entry
	Compression Compression
	// Made is the layer itself where there is one already; it is taken as it is.
	Made v1.Layer
}

// NewLayer makes a gzip-compressed layer.
func NewLayer(entries ...Entry) Layer { return Layer{Entries: entries} }

// Config is what the image says about itself.
type Config struct {
	image.Config
	// OS and Architecture are linux and this machine's if empty.
	OS, Architecture string
}

// Layout writes an image into the OCI layout in dir, which it makes if needed,
// replaces what had the tag there (empty: the image without one), and returns
// the manifest's digest.
func Layout(dir, tag string, cfg Config, layers ...Layer) (string, error) {
	img, err := Image(cfg, layers...)
	if err != nil {
		return "", err
	}
	p, err := layout.FromPath(dir)
	if errors.Is(err, fs.ErrNotExist) {
		p, err = layout.Write(dir, empty.Index)
	}
	if err != nil {
		return "", fmt.Errorf("make the OCI layout %s: %w", dir, err)
	}
	var opts []layout.Option
	if tag != "" {
		opts = append(opts, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": tag}))
	}
	sameTag := func(d v1.Descriptor) bool {
		return d.Annotations["org.opencontainers.image.ref.name"] == tag
	}
	if err := p.ReplaceImage(img, match.Matcher(sameTag), opts...); err != nil {
		return "", fmt.Errorf("write an image to the OCI layout %s: %w", dir, err)
	}
	h, err := img.Digest()
	return h.String(), err
}

// Archive writes an image as `docker save` does, replacing path, and returns
// the image id, the digest of its config. tag is repository:tag.
func Archive(path, tag string, cfg Config, layers ...Layer) (string, error) {
	img, err := Image(cfg, layers...)
	if err != nil {
		return "", err
	}
	ref, err := name.NewTag(tag)
	if err != nil {
		return "", fmt.Errorf("tag %q of archive %s: %w", tag, path, err)
	}
	// Renamed into place, so that nobody reads a half of it.
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return "", err
	}
	err = tarball.Write(ref, img, tmp)
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("write archive %s: %w", path, err), os.Remove(tmp.Name()))
	}
	h, err := img.ConfigName()
	return h.String(), err
}

// Image makes an image in memory, for what Layout and Archive do not write
// (indexes, say).
func Image(cfg Config, layers ...Layer) (v1.Image, error) {
	f := &v1.ConfigFile{
		OS:           cfg.OS,
		Architecture: cfg.Architecture,
		RootFS:       v1.RootFS{Type: "layers"},
		Config: v1.Config{
			Entrypoint:   cfg.Entrypoint,
			Cmd:          cfg.Cmd,
			Env:          cfg.Env,
			WorkingDir:   cfg.WorkingDir,
			User:         cfg.User,
			StopSignal:   cfg.StopSignal,
			ExposedPorts: set(cfg.ExposedPorts),
			Volumes:      set(cfg.Volumes),
		},
	}
	if f.OS == "" {
		f.OS = "linux"
	}
	if f.Architecture == "" {
		f.Architecture = runtime.GOARCH
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.ConfigFile(base, f)
	if err != nil {
		return nil, fmt.Errorf("config of the image: %w", err)
	}
	for i, l := range layers {
		layer, err := l.make()
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i+1, err)
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			return nil, fmt.Errorf("layer %d: %w", i+1, err)
		}
	}
	return img, nil
}

func set(items []string) map[string]struct{} {
	if len(items) == 0 {
		return nil
	}
	m := map[string]struct{}{}
	for _, i := range items {
		m[i] = struct{}{}
	}
	return m
}

func (l Layer) make() (v1.Layer, error) {
	if l.Made != nil {
		return l.Made, nil
	}
	raw, err := l.Tar()
	if err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }
	switch l.Compression {
	case Gzip:
		return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer))
	case Zstd:
		return tarball.LayerFromOpener(open, tarball.WithCompression(compression.ZStd), tarball.WithMediaType(types.OCILayerZStd))
	case None:
		return static.NewLayer(raw, types.OCIUncompressedLayer), nil
	}
	return nil, fmt.Errorf("unknown compression %d", l.Compression)
}

// Tar gives the layer as a tar.
func (l Layer) Tar() ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range l.Entries {
		if err := e.write(w); err != nil {
			return nil, fmt.Errorf("entry %q: %w", e.header.Name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func (e Entry) write(w *tar.Writer) error {
	r, size, err := e.content()
	if err != nil {
		return err
	}
	defer r.Close()
	hdr := e.header
	hdr.Size = size
	if err := w.WriteHeader(&hdr); err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return err
}
