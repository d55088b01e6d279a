package build_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/image/build"
)

// layers are compressed with gzip: validate knows no other compression. The
// tests of package image read the others.
func layers(t *testing.T) []build.Layer {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "server")
	if err := os.WriteFile(binary, []byte("\x7fELF"), 0o600); err != nil {
		t.Fatal(err)
	}
	return []build.Layer{
		build.NewLayer(
			build.Dir("/bin", 0o755), build.FileFrom("/bin/server", 0o755, binary),
			build.File("/bin/su", 0o755|fs.ModeSetuid, nil).WithOwner(0, 7).WithModTime(time.Unix(1e9, 0)),
			build.Symlink("/sh", "bin/server"), build.Hardlink("/bin/other", "/bin/server"),
		),
		build.NewLayer(build.Whiteout("/sh"), build.Opaque("/bin")),
		build.NewLayer(build.File("x", 0o600, []byte("x")).WithXattr("user.a", "b").WithXattr("user.c", "d")),
	}
}

var config = build.Config{Config: image.Config{Entrypoint: []string{"/bin/server"}, ExposedPorts: []string{"80/tcp"}}}

// Other tools accept the images, and the same input makes the same one.
func TestLayout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	var digests []string
	for _, tag := range []string{"1", "2", "2", ""} {
		d, err := build.Layout(dir, tag, config, layers(t)...)
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, d)
	}
	for _, d := range digests {
		if d != digests[0] {
			t.Errorf("the same image has the digests %v", digests)
			break
		}
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Manifests) != 3 {
		t.Errorf("three names make %d entries in the index", len(m.Manifests))
	}
}

func TestArchive(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "image.tar")
	id, err := build.Archive(path, "demo/site:1", config, layers(t)...)
	if err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
	if got, err := img.ConfigName(); err != nil || got.String() != id {
		t.Errorf("got image id %s, %v; want %s", got, err, id)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
		t.Errorf("beside the archive there is %v, %v", list, err)
	}
}

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := build.Layout(filepath.Join(dir, "l"), "1", config, build.NewLayer(build.FileFrom("a", 0o644, dir+"/none"))); err == nil {
		t.Error("made an image of a file that does not exist")
	}
	if _, err := build.Layout(filepath.Join(dir, "l"), "1", config, build.NewLayer(build.FileFrom("a", 0o644, dir))); err == nil {
		t.Error("made a file of a folder")
	}
	if _, err := build.Archive(filepath.Join(dir, "a.tar"), "NOT A TAG", config); err == nil {
		t.Error("made an archive with a malformed tag")
	}
	if _, err := build.Archive(filepath.Join(dir, "none/a.tar"), "a:1", config); err == nil {
		t.Error("made an archive in a folder that does not exist")
	}
}
