package image_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/image/build"
)

// sameFile fails unless both are names of one file in the folder.
func sameFile(t *testing.T, dir, a, b string) {
	t.Helper()
	one, err := os.Lstat(filepath.Join(dir, a))
	if err != nil {
		t.Fatal(err)
	}
	two, err := os.Lstat(filepath.Join(dir, b))
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(one, two) {
		t.Errorf("%s and %s are two files", a, b)
	}
}

func TestHardlinkInLayer(t *testing.T) {
	s, _ := openStore(t)
	img := resolve(t, s, layoutOf(t, build.NewLayer(text("d/a", "x"), build.Hardlink("b", "d/a"), build.Hardlink("c", "/b"))))
	sameFile(t, img.Lower[0], "d/a", "b")
	sameFile(t, img.Lower[0], "b", "c")
	// A link to itself, which some builders write, leaves the file alone.
	img = resolve(t, s, layoutOf(t, build.NewLayer(text("a", "x"), build.Hardlink("a", "a"))))
	if diff := cmp.Diff([]string{"a=x"}, files(t, img.Lower[0])); diff != "" {
		t.Error(diff)
	}
}

// A hard link to a file of a lower layer brings that file up, with its
// attributes.
func TestHardlinkAcrossLayers(t *testing.T) {
	when := time.Unix(1_000_000_000, 0)
	base := build.NewLayer(
		build.Dir("usr", 0o755), build.Dir("usr/lib", 0o711),
		build.File("usr/lib/f", 0o755|os.ModeSetgid, []byte("f")).WithModTime(when).WithXattr("user.note", "kept"),
		build.Symlink("lib", "usr/lib"), build.Symlink("abs", "/lib"), build.Symlink("loop", "loop"),
		text("gone/x", "x"), text("gone-file", "x"), text("hidden/x", "x"), text("file", ""),
	)
	middle := build.NewLayer(text("other", ""), build.Whiteout("gone"), build.Whiteout("gone-file"), text("hidden", "now a file"), build.Symlink("first", "second"))
	for name, c := range map[string]struct {
		entries []build.Entry
		want    []string
		same    [2]string
	}{
		"plain":              {[]build.Entry{build.Hardlink("new", "usr/lib/f")}, []string{"new=f", "usr/", "usr/lib/", "usr/lib/f=f"}, [2]string{"new", "usr/lib/f"}},
		"through a link":     {[]build.Entry{build.Hardlink("new", "lib/f")}, []string{"new=f", "usr/", "usr/lib/", "usr/lib/f=f"}, [2]string{"new", "usr/lib/f"}},
		"through two links":  {[]build.Entry{build.Hardlink("new", "abs/../lib/f")}, []string{"new=f", "usr/", "usr/lib/", "usr/lib/f=f"}, [2]string{"new", "usr/lib/f"}},
		"twice":              {[]build.Entry{build.Hardlink("a", "lib/f"), build.Hardlink("b", "usr/lib/f")}, []string{"a=f", "b=f", "usr/", "usr/lib/", "usr/lib/f=f"}, [2]string{"a", "b"}},
		"then renamed":       {[]build.Entry{build.Hardlink("usr/lib/g", "usr/lib/f"), build.Whiteout("usr/lib/f")}, []string{"usr/", "usr/lib/", "usr/lib/f (whiteout)", "usr/lib/g=f"}, [2]string{"usr/lib/g", "usr/lib/g"}},
		"whiteout before":    {[]build.Entry{build.Whiteout("usr/lib/f"), build.Hardlink("new", "usr/lib/f")}, []string{"new=f", "usr/", "usr/lib/", "usr/lib/f (whiteout)"}, [2]string{"new", "new"}},
		"then overwritten":   {[]build.Entry{build.Hardlink("new", "usr/lib/f"), text("usr/lib/f", "mine"), build.Whiteout("usr/lib/f")}, []string{"new=f", "usr/", "usr/lib/", "usr/lib/f=mine"}, [2]string{"new", "new"}},
		"to a symbolic link": {[]build.Entry{build.Hardlink("new", "first")}, []string{"first -> second", "new -> second"}, [2]string{"new", "first"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := openStore(t)
			img := resolve(t, s, layoutOf(t, base, middle, build.NewLayer(c.entries...)))
			if diff := cmp.Diff(c.want, files(t, img.Lower[0])); diff != "" {
				t.Fatalf("(-want +got):\n%s", diff)
			}
			sameFile(t, img.Lower[0], c.same[0], c.same[1])
			if got := files(t, img.Lower[2]); len(got) != 12 {
				t.Errorf("the lowest layer changed: %v", got)
			}
			if name != "through a link" {
				return
			}
			fi, err := os.Lstat(filepath.Join(img.Lower[0], "usr/lib"))
			if err != nil {
				t.Fatal(err)
			}
			if fi.Mode().Perm() != 0o711 {
				t.Errorf("the folder of the copy has mode %v, the original 0711", fi.Mode())
			}
			if got := xattrs(t, filepath.Join(img.Lower[0], "new")); !cmp.Equal(got, []string{"user.note"}) {
				t.Errorf("the copy has xattrs %v, the original user.note", got)
			}
		})
	}
	for name, target := range map[string]string{
		"whited out": "gone-file", "in a folder whited out": "gone/x", "hidden by a file": "hidden/x", "a circle": "loop/x", "a folder": "usr/lib", "through a file": "file/x", "nothing": "nothing", "up and away": "usr/lib/g",
	} {
		t.Run(name, func(t *testing.T) {
			s, store := openStore(t)
			wantError(t, s, layoutOf(t, base, middle, build.NewLayer(build.Hardlink("new", target))), image.ErrCorrupt)
			wantEmpty(t, store)
		})
	}
}

// Folders that a layer does not list look as in the layer that they cover.
func TestInheritedFolders(t *testing.T) {
	s, _ := openStore(t)
	base := build.NewLayer(build.Dir("a", 0o700), build.Dir("a/b", 0o777|os.ModeSticky), build.Dir("gone", 0o700), build.Dir("opaque", 0o700))
	img := resolve(t, s, layoutOf(t, base, build.NewLayer(build.Whiteout("gone")), build.NewLayer(text("a/b/c/f", ""), text("gone/f", ""))))
	for path, want := range map[string]os.FileMode{
		"a": 0o700, "a/b": 0o777 | os.ModeSticky, "a/b/c": 0o755, "gone": 0o755,
	} {
		fi, err := os.Lstat(filepath.Join(img.Lower[0], path))
		if err != nil {
			t.Fatal(err)
		}
		if got := fi.Mode() &^ os.ModeDir; got != want {
			t.Errorf("%s has mode %v, want %v", path, got, want)
		}
	}
}
