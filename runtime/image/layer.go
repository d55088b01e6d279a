package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"

	"github.com/containerd/containerd/v2/pkg/archive"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds the memory that decompressing a zstd layer takes (bytes):
// what `zstd --ultra --long` makes at most without a flag to read it.
const maxWindow = 128 << 20

// name is how messages call a layer: by the digest that an `ls` of its source
// shows.
func (l layerBlob) name() string {
	if l.blob != (v1.Hash{}) {
		return l.blob.String()
	}
	return l.diffID.String()
}

// hashingReader hashes what is read through it and keeps the error that reading
// ended with.
type hashingReader struct {
	r    io.Reader
	h    hash.Hash
	stop func() error // asked before each read: reading is what takes long
	err  error        // that reading ended with; not io.EOF
}

func newHashingReader(ctx context.Context, r io.Reader) *hashingReader {
	return &hashingReader{r: r, h: sha256.New(), stop: func() error { return context.Cause(ctx) }}
}

func (h *hashingReader) Read(p []byte) (int, error) {
	if h.err = h.stop(); h.err != nil {
		return 0, h.err
	}
	n, err := h.r.Read(p)
	h.h.Write(p[:n])
	if err != nil && !errors.Is(err, io.EOF) {
		h.err = err
	}
	return n, err
}

// verify reads the rest and compares the digest.
func (h *hashingReader) verify(what string, want v1.Hash) error {
	if _, err := io.Copy(io.Discard, h); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.h.Sum(nil)); got != want.Hex {
		return fmt.Errorf("%w: its %s should be %s and is sha256:%s; fetch the image again", ErrCorrupt, what, want, got)
	}
	return nil
}

// applyLayer unpacks a layer into root, an empty folder; below are the folders
// of the layers under it, the top one first. It returns the bytes of file
// content. When it fails root holds a part of it.
func applyLayer(ctx context.Context, root string, below []string, l layerBlob, log *slog.Logger) (int64, error) {
	raw, err := l.open()
	if err != nil {
		return 0, err
	}
	defer raw.Close()
	blob := newHashingReader(ctx, raw)
	plain, done, err := decompress(blob)
	if err != nil {
		return 0, readError(blob, err)
	}
	defer done()
	content := newHashingReader(ctx, plain)

	a := newApplier(root, below, log)
	size, applyErr := archive.Apply(withLogger(ctx, log), root, content, a.options()...)
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	if a.linkErr != nil {
		applyErr = a.linkErr
	}
	if applyErr = classify(applyErr); errors.Is(applyErr, ErrNoSpace) {
		return 0, applyErr
	}
	// A damaged layer may fail in any way before its digest does; the digest
	// tells the cause.
	if err := content.verify("diff id", l.diffID); err != nil {
		return 0, readError(blob, err)
	}
	if l.blob != (v1.Hash{}) {
		if err := blob.verify("digest", l.blob); err != nil {
			return 0, readError(blob, err)
		}
	}
	if applyErr != nil {
		return 0, applyError(applyErr)
	}
	return size, a.finish()
}

// readError tells a disk that cannot be read from a layer whose content is
// wrong.
func readError(blob *hashingReader, err error) error {
	switch {
	case blob.err != nil:
		return fmt.Errorf("read it: %w", blob.err)
	case errors.Is(err, ErrCorrupt), errors.Is(err, ErrUnsupported):
		return err
	}
	return fmt.Errorf("%w: %w; fetch the image again", ErrCorrupt, err)
}

// applyError is for layers that are what their digest says and still cannot be
// unpacked.
func applyError(err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it is no tar: %w", ErrCorrupt, err)
	}
	return fmt.Errorf("unpack it: %w", err)
}

// decompress recognises gzip and zstd by their magic numbers, as media types
// are often wrong. done frees what the reader holds.
func decompress(r io.Reader) (plain io.Reader, done func(), err error) {
	b := bufio.NewReaderSize(r, 128<<10)
	magic, err := b.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, nil, err
		}
		return z, func() {}, nil
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(b, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderConcurrency(1)) // reads in this goroutine, so that the error of reading is ours to see
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return b, func() {}, nil
}
