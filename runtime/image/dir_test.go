package image_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/volume"
)

func mkdir(t *testing.T, elem ...string) string {
	t.Helper()
	dir := filepath.Join(elem...)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func symlink(t *testing.T, target, link string) string {
	t.Helper()
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	return link
}

func TestDir(t *testing.T) {
	top := t.TempDir()
	state := mkdir(t, top, "state")
	s := openStoreIn(t, filepath.Join(state, "images"), image.Reserve(state, filepath.Join(top, "run/not-yet")))
	root := mkdir(t, top, "roots/site")

	img := resolve(t, s, "dir:"+root)
	want := &image.Image{Ref: "dir:" + root, Digest: img.Digest, Lower: []string{root}}
	if diff := cmp.Diff(want, img, cmpopts.IgnoreUnexported(image.Image{})); diff != "" {
		t.Error(diff)
	}
	link := symlink(t, root, filepath.Join(top, "link"))
	wantError(t, s, "dir:"+link, volume.ErrLink, link+" is a symbolic link")
	wantError(t, s, "dir:"+filepath.Join(symlink(t, filepath.Dir(root), filepath.Join(top, "above")), "site"), volume.ErrLink, "above is a symbolic link")
	if got := resolve(t, s, "dir:"+mkdir(t, top, "roots/other")); got.Digest == img.Digest {
		t.Error("two folders have one digest")
	}

	file := filepath.Join(top, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, c := range map[string]struct {
		want error
		text string
	}{
		"/":                              {image.ErrEscape, "own root"},
		"/../..":                         {image.ErrEscape, "own root"},
		top:                              {image.ErrEscape, "is or contains " + state},
		state:                            {image.ErrEscape, state},
		mkdir(t, state, "logs"):          {image.ErrEscape, "lies in " + state},
		filepath.Join(state, "images/l"): {image.ErrEscape, "lies in"},
		symlink(t, state, filepath.Join(top, "to-state")):    {volume.ErrLink, "to-state"},
		symlink(t, "/", filepath.Join(top, "to-root")):       {volume.ErrLink, "to-root"},
		filepath.Join(root, "../../state/images"):            {image.ErrEscape, "is or contains"},
		mkdir(t, top, "run"):                                 {image.ErrEscape, "is or contains"},
		symlink(t, "dangling", filepath.Join(top, "broken")): {volume.ErrLink, "broken"},
		symlink(t, "circle", filepath.Join(top, "circle")):   {volume.ErrLink, "circle"},
		file:                     {image.ErrUnsupported, "docker-archive:" + file},
		filepath.Join(file, "x"): {image.ErrNotFound, "not a directory"},
		mkdir(t, top, "a:b"):     {image.ErrUnsupported, "':'"},
		mkdir(t, top, "a,b"):     {image.ErrUnsupported, "','"},
		mkdir(t, top, `a\b`):     {image.ErrUnsupported, `'\\'`},
	} {
		t.Run(filepath.Base(path), func(t *testing.T) {
			ref, err := image.ParseRef("dir:" + path)
			if err != nil {
				t.Fatal(err)
			}
			wantError(t, s, ref.String(), c.want, c.text)
		})
	}
}

// TestDirOutsideOfRoots: only what lies below a root is an image; a name that
// begins like a root's is not below it.
func TestDirOutsideOfRoots(t *testing.T) {
	top := t.TempDir()
	s, err := image.Open(filepath.Join(top, "images"), nil, image.Roots(filepath.Join(top, "roots")))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Resolve(t.Context(), "dir:"+mkdir(t, top, "roots/site")); err != nil {
		t.Error(err)
	}
	for _, outside := range []string{mkdir(t, top, "elsewhere"), mkdir(t, top, "roots2")} {
		wantError(t, s, "dir:"+outside, volume.ErrOutside, "volumeRoots")
	}
}

func TestOpenRefusesSeparators(t *testing.T) {
	if _, err := image.Open(filepath.Join(t.TempDir(), "a:b"), nil); err == nil {
		t.Error("opened a store that overlayfs cannot be told of")
	}
}
