package image

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// SetClock replaces the clock that tells whether a file is old enough to be
// remembered.
func SetClock(s *Store, now func() time.Time) { s.archives.now = now }

// MaxLower is maxLower.
const MaxLower = maxLower

// ApplyLayer unpacks a tar into root.
func ApplyLayer(ctx context.Context, root string, below []string, raw []byte, log *slog.Logger) error {
	h, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	_, err = applyLayer(ctx, root, below, layerBlob{diffID: h, open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(raw)), nil
	}}, &totals{}, log)
	return err
}

// ApplyWithin unpacks a layer of an unknown digest into root, within limits.
func ApplyWithin(ctx context.Context, root string, from io.ReadCloser, l Limits) error {
	_, err := applyLayer(ctx, root, nil, layerBlob{open: func() (io.ReadCloser, error) { return from, nil }}, &totals{Limits: l}, slog.New(slog.DiscardHandler))
	return err
}
