package image_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/image/build"
)

// archiveOf makes an archive with one image of the layers and returns the
// reference to it.
func archiveOf(t testing.TB, layers ...build.Layer) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	if _, err := build.Archive(path, "site:1", build.Config{}, layers...); err != nil {
		t.Fatal(err)
	}
	return "docker-archive:" + path
}

// cached lists the archives that a store remembers on disk.
func cached(t *testing.T, store string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(store, "archives", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestArchiveCache(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "images")
	s := openStoreIn(t, dir)
	ref := archiveOf(t, build.NewLayer(text("a", "a")))
	want := resolve(t, s, ref)
	// A file that was just written may change again without a trace: it is not
	// remembered.
	if got := cached(t, dir); len(got) != 0 {
		t.Fatalf("remembered a file of now: %v", got)
	}
	image.SetClock(s, func() time.Time { return time.Now().Add(time.Hour) })
	resolve(t, s, ref)
	if got := cached(t, dir); len(got) != 1 {
		t.Fatalf("remembered %v, want one archive", got)
	}
	if diff := cmp.Diff(want, resolve(t, openStoreIn(t, dir), ref), cmpopts.IgnoreUnexported(image.Image{})); diff != "" {
		t.Error(diff)
	}
	// A store that is opened later believes what is remembered instead of
	// reading the archive: given a lie, it gives another image.
	other := resolve(t, s, layoutOf(t, build.NewLayer(text("other", ""))))
	rewrite(t, cached(t, dir)[0], func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(want.Digest), []byte(other.Digest)) })
	again := openStoreIn(t, dir)
	if got := resolve(t, again, ref); got.Digest != other.Digest {
		t.Errorf("got %s, want what is remembered, %s: the archive was read", got.Digest, other.Digest)
	}
	// Another image in the same place is seen.
	path := ref[len("docker-archive:"):]
	if _, err := build.Archive(path, "site:1", build.Config{}, build.NewLayer(text("a", "b"))); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a=b"}, files(t, resolve(t, again, ref).Lower[0])); diff != "" {
		t.Error(diff)
	}
	// So is a damaged cache file.
	rewrite(t, cached(t, dir)[0], half)
	resolve(t, openStoreIn(t, dir), ref)
	// And a missing archive.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	wantError(t, again, ref, image.ErrNotFound)
}
