package image_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/image/build"
)

// tame tells whether a fuzzed tar stays small when unpacked: fuzzing is not for
// filling the disk.
func tame(raw []byte) bool {
	r := tar.NewReader(bytes.NewReader(raw))
	var total int64
	for {
		hdr, err := r.Next()
		if err != nil {
			return errors.Is(err, io.EOF) || errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF)
		}
		if total += hdr.Size; total > 1<<20 || hdr.Size < 0 {
			return false
		}
	}
}

// Whatever a layer says, nothing outside of its folder changes: not the layer
// below it, not a neighbour of the folder, not a folder elsewhere to which the
// layer below has links.
func FuzzLayer(f *testing.F) {
	for _, l := range []build.Layer{
		build.NewLayer(text("link/x", "x"), build.Hardlink("hard", "link/secret"), build.Whiteout("link/secret")),
		build.NewLayer(build.Symlink("a", ".."), text("a/../b", "x"), build.Hardlink("c", "a/b")),
		build.NewLayer(build.Hardlink("new", "d/f"), build.Whiteout("d/f"), build.Dir("d", 0o700)),
		build.NewLayer(build.Opaque("d"), build.Symlink("d", "/etc"), text("d/passwd", "x")),
		build.NewLayer(text("../outside/secret", "x")),
	} {
		raw, err := l.Tar()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !tame(raw) {
			t.Skip()
		}
		top := t.TempDir()
		outside := mkdir(t, top, "outside")
		if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
		base := build.NewLayer(build.Symlink("link", outside), build.Symlink("up", "../../../outside"), text("d/f", "f"))
		below, root := mkdir(t, top, "below"), mkdir(t, top, "root")
		baseTar, err := base.Tar()
		if err != nil {
			t.Fatal(err)
		}
		log := slog.New(slog.DiscardHandler)
		if err := image.ApplyLayer(t.Context(), below, nil, baseTar, log); err != nil {
			t.Fatal(err)
		}
		before := append(files(t, below), files(t, outside)...)
		_ = image.ApplyLayer(t.Context(), root, []string{below}, raw, log) // most fail, which is fine
		if diff := cmp.Diff(before, append(files(t, below), files(t, outside)...)); diff != "" {
			t.Errorf("the layer changed what is not its (-before +after):\n%s", diff)
		}
		if names, err := os.ReadDir(top); err != nil || len(names) != 3 {
			t.Errorf("beside the layer's folder there is %v, %v", names, err)
		}
	})
}
