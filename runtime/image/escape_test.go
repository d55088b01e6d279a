package image_test

import (
	"archive/tar"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/image/build"
)

// outside makes a folder with one file that images are not to touch. The check
// sees that it did not change, by content, mode, link count and xattrs.
func outside(t *testing.T) (dir string, check func()) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "outside")
	secret := filepath.Join(dir, "secret")
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	look := func() string {
		fi, err := os.Lstat(secret)
		if err != nil {
			t.Fatal(err)
		}
		top, err := os.Lstat(dir)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(slices.Concat(files(t, dir), []string{fi.Mode().String(), top.Mode().String(), linkCount(fi)}, xattrs(t, dir), xattrs(t, secret)), "\n")
	}
	before := look()
	return dir, func() {
		t.Helper()
		if diff := cmp.Diff(before, look()); diff != "" {
			t.Errorf("a folder outside of the store changed (-before +after):\n%s", diff)
		}
	}
}

// What climbs above the root is refused.
func TestEscapeRefused(t *testing.T) {
	out, check := outside(t)
	up := strings.Repeat("../", 40)
	for name, entries := range map[string][]build.Entry{
		"file above the root":             {text(up+out+"/secret", "stolen")},
		"file one above":                  {text("../x", "x")},
		"up in the middle":                {text("a/b/../../../x", "x")},
		"folder above the root":           {build.Dir(up+out, 0o777)},
		"symbolic link above the root":    {build.Symlink("../link", "/etc")},
		"whiteout above the root":         {build.Whiteout(up + out + "/secret")},
		"opaque folder above the root":    {build.Opaque(up + out)},
		"hard link to a file outside":     {build.Hardlink("stolen", up+out+"/secret")},
		"hard link up in the middle":      {build.Dir("a", 0o755), build.Hardlink("stolen", "a/../../secret")},
		"whiteout in a folder called ..":  {build.Raw(tar.Header{Typeflag: tar.TypeReg, Name: "../.wh.secret"}, nil)},
		"hard link whose own name climbs": {text("a", "a"), build.Raw(tar.Header{Typeflag: tar.TypeLink, Name: "../b", Linkname: "a"}, nil)},
		"refused after good ones":         {text("good", "good"), text("../bad", "bad")},
	} {
		t.Run(name, func(t *testing.T) {
			s, store := openStore(t)
			wantError(t, s, layoutOf(t, build.NewLayer(entries...)), image.ErrEscape, "layer 1 of 1")
			wantEmpty(t, store)
			check()
		})
	}
}

// What merely looks like it, or goes through links, stays inside.
func TestEscapeContained(t *testing.T) {
	out, check := outside(t)
	absolute := strings.TrimPrefix(out, "/")
	parents := func(path string) (list []string) { // the lines of files for a folder and those above it
		for i, c := range path + "/" {
			if c == '/' {
				list = append(list, path[:i]+"/")
			}
		}
		return list
	}
	for name, c := range map[string]struct {
		entries []build.Entry
		want    []string
	}{
		"absolute name": {
			[]build.Entry{build.Raw(tar.Header{Typeflag: tar.TypeReg, Name: out + "/secret", Mode: 0o644}, []byte("mine"))},
			append(parents(absolute), absolute+"/secret=mine"),
		},
		"through an absolute link": {
			[]build.Entry{build.Symlink("link", out), text("link/secret", "mine")},
			append(append([]string{"link -> " + out}, parents(absolute)...), absolute+"/secret=mine"),
		},
		"through a climbing link": {
			[]build.Entry{build.Symlink("link", "../../../../../../.."), text("link/x", "mine")},
			[]string{"link -> ../../../../../../..", "x=mine"},
		},
		"over a link to a file outside": {
			[]build.Entry{build.Symlink("link", out+"/secret"), text("link", "mine")},
			[]string{"link=mine"},
		},
		"link to a folder outside becomes a folder": {
			[]build.Entry{build.Symlink("link", out), build.Dir("link", 0o777)},
			[]string{"link/"},
		},
		"hard link to a link to a file outside and written": {
			[]build.Entry{build.Symlink("link", out+"/secret"), build.Hardlink("hard", "link"), text("hard", "mine")},
			[]string{"hard=mine", "link -> " + out + "/secret"},
		},
		"hard link to a link with the mode of a file": {
			[]build.Entry{build.Symlink("link", out+"/secret"), build.Raw(tar.Header{Typeflag: tar.TypeLink, Name: "hard", Linkname: "link", Mode: 0o777}, nil)},
			[]string{"hard -> " + out + "/secret", "link -> " + out + "/secret"},
		},
		"whiteout through a link": {
			[]build.Entry{build.Symlink("link", out), build.Whiteout("link/secret")},
			append([]string{"link -> " + out}, parents(absolute)...),
		},
		"device nodes": {
			[]build.Entry{
				build.Raw(tar.Header{Typeflag: tar.TypeBlock, Name: "dev/sda", Devmajor: 8, Mode: 0o666}, nil),
				build.Raw(tar.Header{Typeflag: tar.TypeChar, Name: "dev/mem", Devmajor: 1, Devminor: 1, Mode: 0o666}, nil),
				build.Raw(tar.Header{Typeflag: tar.TypeChar, Name: "forged-whiteout"}, nil),
				build.Raw(tar.Header{Typeflag: tar.TypeFifo, Name: "fifo", Mode: 0o600}, nil),
				text("dev/null", ""),
			},
			[]string{"dev/", "dev/null=", "fifo (p---------)"},
		},
		"overlayfs's own xattrs": {
			[]build.Entry{build.Dir("dir", 0o755).WithXattr("trusted.overlay.redirect", "/etc").WithXattr("trusted.overlay.opaque", "y")},
			[]string{"dir/"},
		},
		"files of aufs": {
			[]build.Entry{text(".wh..wh.plnk/1.2", ""), text(".wh..wh.aufs", ""), text("a", "")},
			[]string{".wh..wh.plnk/", ".wh..wh.plnk/1.2=", "a="},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := openStore(t)
			// The files must not depend on what is outside, so the store has
			// nothing at the same path.
			img := resolve(t, s, layoutOf(t, build.NewLayer(c.entries...)))
			if diff := cmp.Diff(c.want, files(t, img.Lower[0])); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, x := range xattrs(t, filepath.Join(img.Lower[0], "dir")) {
				if strings.HasPrefix(x, "trusted.") {
					t.Errorf("the layer set %s", x)
				}
			}
			check()
		})
	}
}

// A link planted by a lower layer does not exist where the upper one is
// unpacked.
func TestEscapeThroughLowerLayer(t *testing.T) {
	out, check := outside(t)
	s, _ := openStore(t)
	planted := build.NewLayer(build.Symlink("link", out), build.Symlink("file", out+"/secret"), build.Symlink("up", "../../../../../.."))
	img := resolve(t, s, layoutOf(t, planted, build.NewLayer(
		text("link/secret", "mine"), text("file", "mine"), text("up/x", "mine"), build.Whiteout("link/gone"))))
	want := []string{"file=mine", "link/", "link/secret=mine", "up/", "up/x=mine"}
	if diff := cmp.Diff(want, files(t, img.Lower[0])); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	check()
	// Nor does a hard link in the upper layer follow it: it is looked up as the
	// container would.
	wantError(t, s, layoutOf(t, planted, build.NewLayer(build.Hardlink("stolen", "link/secret"))), image.ErrCorrupt, "stolen", "link/secret")
	// A hard link to the link itself is a link, not the file.
	img = resolve(t, s, layoutOf(t, planted, build.NewLayer(build.Hardlink("stolen", "file"))))
	want = []string{"file -> " + out + "/secret", "stolen -> " + out + "/secret"}
	if diff := cmp.Diff(want, files(t, img.Lower[0])); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	check()
}

// Whiteouts are placed last, when the folder in which they were may be a link
// out of the layer.
func TestEscapeByWhiteout(t *testing.T) {
	out, check := outside(t)
	s, _ := openStore(t)
	base := build.NewLayer(text("dir/sub/secret", "base"))
	for _, link := range []build.Entry{build.Symlink("dir/sub", out), build.Symlink("dir", filepath.Dir(out)), text("dir", "")} {
		img := resolve(t, s, layoutOf(t, base, build.NewLayer(
			build.Whiteout("dir/sub/secret"), build.Whiteout("dir/sub"), build.Opaque("dir/sub"), link)))
		for _, f := range files(t, img.Lower[0]) {
			if strings.HasSuffix(f, "(whiteout)") {
				t.Errorf("%s in a layer that replaces its folder", f)
			}
		}
		check()
	}
}

// An upper layer cannot change a lower one, which other images share.
func TestLowerLayersAreReadOnly(t *testing.T) {
	s, _ := openStore(t)
	base := build.NewLayer(build.Dir("d", 0o755), build.File("d/shared", 0o644, []byte("shared")))
	before := resolve(t, s, layoutOf(t, base))
	resolve(t, s, layoutOf(t, base, build.NewLayer(
		build.Raw(tar.Header{Typeflag: tar.TypeLink, Name: "mine", Linkname: "d/shared", Mode: 0o777}, nil),
		text("d/shared", "changed"), build.Dir("d", 0o700), build.Whiteout("d/shared"))))
	fi, err := os.Lstat(filepath.Join(before.Lower[0], "d/shared"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"d/", "d/shared=shared"}, files(t, before.Lower[0])); diff != "" || fi.Mode() != 0o644 || linkCount(fi) != "1" {
		t.Errorf("the lower layer changed: mode %v, %s links\n%s", fi.Mode(), linkCount(fi), diff)
	}
}

func TestMalformedLayers(t *testing.T) {
	for name, c := range map[string]struct {
		entries []build.Entry
		want    error
	}{
		"whiteout of nothing":   {[]build.Entry{build.Raw(tar.Header{Typeflag: tar.TypeReg, Name: "a/.wh."}, nil)}, image.ErrCorrupt},
		"whiteout of .":         {[]build.Entry{build.Raw(tar.Header{Typeflag: tar.TypeReg, Name: "a/.wh.."}, nil)}, image.ErrCorrupt},
		"whiteout of ..":        {[]build.Entry{build.Raw(tar.Header{Typeflag: tar.TypeReg, Name: "a/.wh..."}, nil)}, image.ErrCorrupt},
		"hard link to nothing":  {[]build.Entry{build.Hardlink("a", "nothing")}, image.ErrCorrupt},
		"hard link to a folder": {[]build.Entry{build.Hardlink("a", "/")}, image.ErrCorrupt},
		"unknown type":          {[]build.Entry{build.Raw(tar.Header{Typeflag: 'Q', Name: "a"}, nil)}, image.ErrUnsupported},
		"larger than the disk":  {nil, image.ErrNoSpace}, // made below
	} {
		t.Run(name, func(t *testing.T) {
			s, store := openStore(t)
			ref := layoutOf(t, build.NewLayer(c.entries...))
			if c.entries == nil {
				ref = layoutOfTar(t, sparseBomb())
			}
			wantError(t, s, ref, c.want)
			wantEmpty(t, store)
		})
	}
}
