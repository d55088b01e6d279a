package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/image/build"
)

// html is the folder that is the site's own.
const html = "/var/www/html"

// imageConfig is that of the well-known image of Apache and WordPress.
var imageConfig = build.Config{Config: image.Config{
	Entrypoint:   []string{"/usr/local/bin/entrypoint"},
	Cmd:          []string{"apache2", "-D", "FOREGROUND", "-f", "/etc/apache2/apache2.conf"},
	Env:          []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
	WorkingDir:   html,
	StopSignal:   "SIGWINCH", // what apache2 takes for: finish what you are at, and end
	ExposedPorts: []string{"80/tcp"},
	Volumes:      []string{html},
}}

// releaseHeader tells in each answer which release of the image gave it.
const releaseHeader = "X-Image-Release"

// writeImage writes a release of the image into the OCI layout at dir. Its layers
// are those of tests/apps/build.sh and one of the release.
func writeImage(dir, apps, release string) (digest string, err error) {
	conf := fmt.Appendf(nil, "Header always set %s %s\n", releaseHeader, release)
	layers := []build.Layer{
		{Made: blob(filepath.Join(apps, "wordpress", "base"))},
		{Made: blob(filepath.Join(apps, "wordpress", "own"))},
		build.NewLayer(build.File("etc/apache2/conf.d/release.conf", 0o644, conf)),
	}
	return build.Layout(dir, release, imageConfig, layers...)
}

// push pushes an image of a layout into a registry.
func push(ctx context.Context, dir, digest, ref string) error {
	to, err := name.ParseReference(ref)
	if err != nil {
		return err
	}
	h, err := v1.NewHash(digest)
	if err != nil {
		return err
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return fmt.Errorf("open the OCI layout %s: %w", dir, err)
	}
	img, err := index.Image(h)
	if err != nil {
		return fmt.Errorf("open the image %s in %s: %w", digest, dir, err)
	}
	if err := remote.Write(to, img, remote.WithContext(ctx)); err != nil {
		return fmt.Errorf("push %s: %w", ref, err)
	}
	return nil
}

// blob is a layer in a file, NAME.tar.gz, with its digests beside it.
type blob string

func (b blob) hash(of string) (v1.Hash, error) {
	text, err := os.ReadFile(string(b) + of + ".sha256")
	if err != nil {
		return v1.Hash{}, err
	}
	hex, _, _ := strings.Cut(string(text), " ")
	return v1.NewHash("sha256:" + hex)
}

// Digest implements v1.Layer.
func (b blob) Digest() (v1.Hash, error) { return b.hash(".tar.gz") }

// DiffID implements v1.Layer.
func (b blob) DiffID() (v1.Hash, error) { return b.hash(".tar") }

// Compressed implements v1.Layer.
func (b blob) Compressed() (io.ReadCloser, error) { return os.Open(string(b) + ".tar.gz") }

// Uncompressed implements v1.Layer; nobody needs it.
func (b blob) Uncompressed() (io.ReadCloser, error) {
	return nil, fmt.Errorf("%s.tar.gz is not unpacked here", string(b))
}

// Size implements v1.Layer.
func (b blob) Size() (int64, error) {
	fi, err := os.Stat(string(b) + ".tar.gz")
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

// MediaType implements v1.Layer.
func (b blob) MediaType() (types.MediaType, error) { return types.OCILayer, nil }
