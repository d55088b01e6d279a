package image

import (
	"bytes"
	"context"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// maxDocument bounds manifests, indexes and configs (bytes). Registries take 4
// MiB.
const maxDocument = 16 << 20

// source is an image where the user put it.
type source interface {
	// digest names the image that the reference means now. It reads as little
	// as it can: it is on the path of every cold start.
	digest(ctx context.Context) (v1.Hash, error)
	// contents reads and verifies what an image that is not unpacked yet
	// consists of.
	contents(ctx context.Context, h v1.Hash) (*contents, error)
}

// contents is what unpacking needs to know of an image.
type contents struct {
	config Config
	layers []layerBlob // from the bottom up
}

// layerBlob is a layer as its source holds it.
type layerBlob struct {
	diffID v1.Hash // of the tar
	size   int64   // of the blob, in bytes; 0 where the source does not say
	blob   v1.Hash // of the possibly compressed tar; zero where the source has no such digest
	open   func() (io.ReadCloser, error)
}

// readDocument reads a manifest, index or config from r and verifies that it is
// want.
func readDocument(r io.Reader, want v1.Hash) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", want, err)
	}
	if len(raw) > maxDocument {
		return nil, fmt.Errorf("%w: %s is larger than %d bytes, too large for a manifest, index or config", ErrUnsupported, want, maxDocument)
	}
	got, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	if got != want {
		return nil, fmt.Errorf("%w: the content of %s has digest %s", ErrCorrupt, want, got)
	}
	return raw, nil
}
