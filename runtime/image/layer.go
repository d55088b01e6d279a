package image

import (
	"archive/tar"
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

	"github.com/fcnode/fcnode/runtime/image/decode"
)

// name is how messages call a layer: by the digest that an `ls` of its source
// shows.
func (l layerBlob) name() string {
	if l.blob != (v1.Hash{}) {
		return l.blob.String()
	}
	return l.diffID.String()
}

// hashingReader hashes what is read through it.
type hashingReader struct {
	r    io.Reader
	h    hash.Hash
	stop func() error // asked before each read: reading is what takes long
}

func newHashingReader(ctx context.Context, r io.Reader) *hashingReader {
	return &hashingReader{r: r, h: sha256.New(), stop: func() error { return context.Cause(ctx) }}
}

func (h *hashingReader) Read(p []byte) (int, error) {
	if err := h.stop(); err != nil {
		return 0, err
	}
	n, err := h.r.Read(p)
	h.h.Write(p[:n])
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
// content. When it fails root holds a part of it. Another process decompresses the
// layer; what comes out of that is not believed before it has the layer's digest.
func applyLayer(ctx context.Context, root string, below []string, l layerBlob, most *totals, log *slog.Logger) (size int64, err error) {
	raw, err := l.open()
	if err != nil {
		return 0, err
	}
	blob := newHashingReader(ctx, raw)
	plain, err := decode.Start(ctx, struct {
		io.Reader
		io.Closer
	}{blob, raw})
	if err != nil {
		return 0, errors.Join(err, context.Cause(ctx), raw.Close())
	}
	defer plain.Close()
	content := newHashingReader(ctx, most.reading(plain))

	a := newApplier(root, below, most, log)
	size, applyErr := archive.Apply(withLogger(ctx, log), root, content, a.options()...)
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	if a.linkErr != nil {
		applyErr = a.linkErr
	}
	if applyErr = classify(applyErr); errors.Is(applyErr, ErrNoSpace) || errors.Is(applyErr, ErrLimit) {
		return 0, applyErr
	}
	// A damaged layer may fail in any way before its digest does; the digest
	// tells the cause.
	if err := content.verify("diff id", l.diffID); err != nil {
		return 0, readError(err)
	}
	if l.blob != (v1.Hash{}) {
		if err := blob.verify("digest", l.blob); err != nil {
			return 0, readError(err)
		}
	}
	if applyErr != nil {
		return 0, applyError(applyErr)
	}
	return size, a.finish()
}

// readError says what to do about a layer whose content is wrong.
func readError(err error) error {
	if errors.Is(err, decode.ErrContent) {
		return fmt.Errorf("%w: %w; fetch the image again", ErrCorrupt, err)
	}
	return err
}

// applyError is for layers that are what their digest says and still cannot be
// unpacked.
func applyError(err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it is no tar: %w", ErrCorrupt, err)
	}
	return fmt.Errorf("unpack it: %w", err)
}
