package image_test

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/image/build"
)

// logBuffer is a log that tests read.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}

func (l *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// openStore opens a store in a folder of its own and returns both.
func openStore(t testing.TB, opts ...image.Option) (*image.Store, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "images")
	return openStoreIn(t, dir, opts...), dir
}

func openStoreIn(t testing.TB, dir string, opts ...image.Option) *image.Store {
	t.Helper()
	s, err := image.Open(dir, slog.New(slog.DiscardHandler), append([]image.Option{image.Roots("/")}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// layoutOf makes a layout with one image of the layers and returns the
// reference to it.
func layoutOf(t testing.TB, layers ...build.Layer) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	if _, err := build.Layout(dir, "1", build.Config{}, layers...); err != nil {
		t.Fatal(err)
	}
	return "oci:" + dir + ":1"
}

func resolve(t testing.TB, s *image.Store, ref string) *image.Image {
	t.Helper()
	img, err := s.Resolve(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// wantError resolves ref and wants it to fail with the sentinel and all of the
// texts.
func wantError(t testing.TB, s *image.Store, ref string, sentinel error, texts ...string) {
	t.Helper()
	_, err := s.Resolve(t.Context(), ref)
	if !errors.Is(err, sentinel) {
		t.Fatalf("resolving %s: got error %v, want %v", ref, err, sentinel)
	}
	for _, text := range append(texts, strconv.Quote(ref)) {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the error does not mention %q: %v", text, err)
		}
	}
}

// files lists what is below the folder, with a mark for its kind: name/ for
// folders, name -> target for symbolic links, name (whiteout), name=content for
// files.
func files(t testing.TB, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			rel += "/"
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			rel += " -> " + target
		case d.Type()&fs.ModeCharDevice != 0:
			rel += " (whiteout)"
		case d.Type().IsRegular():
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			rel += "=" + string(content)
		default:
			rel += " (" + d.Type().String() + ")"
		}
		list = append(list, rel)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// wantEmpty fails for everything in a store but its lock and its four folders.
func wantEmpty(t testing.TB, dir string) {
	t.Helper()
	for _, f := range files(t, dir) {
		switch f {
		case "archives/", "images/", "l/", "tmp/", "lock=":
		default:
			t.Errorf("left in the store: %s", f)
		}
	}
}

func text(name, content string) build.Entry { return build.File(name, 0o644, []byte(content)) }
