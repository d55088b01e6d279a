package image_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/image/build"
	"github.com/fcnode/fcnode/tests/testutil"
)

// mountTmpfs gives a file system of its own.
func mountTmpfs(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Fatalf("mounting a tmpfs with %s: %v", options, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// mountImage mounts an image as the runner does, writable, and returns the
// root.
func mountImage(t *testing.T, img *image.Image) string {
	t.Helper()
	top := mountTmpfs(t, "size=1m")
	root, upper, work := mkdir(t, top, "root"), mkdir(t, top, "upper"), mkdir(t, top, "work")
	options := "lowerdir=" + strings.Join(img.Lower, ":") + ",upperdir=" + upper + ",workdir=" + work
	if err := unix.Mount("overlay", root, "overlay", 0, options); err != nil {
		t.Fatalf("mounting an overlay with %s: %v", options, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(root, 0); err != nil {
			t.Error(err)
		}
	})
	return root
}

// What the kernel shows of the layers is what the image's author meant.
func TestRootOverlay(t *testing.T) {
	testutil.Privileged(t)
	base := build.NewLayer(
		build.Dir("", 0o755), build.Dir("etc", 0o755), text("etc/keep", "base"), text("etc/delete", "base"),
		text("dir/one", "base"), text("dir/two", "base"),
		text("replaced/old", "base"), text("emptied/sub/old", "base"), text("file-to-dir", "base"), text("dir-to-file/x", "base"),
		build.Dir("secret", 0o700).WithOwner(33, 34), text("secret/x", "base"),
		build.File("bin/tool", 0o755|os.ModeSetuid, []byte("tool")).WithOwner(0, 50),
	)
	for name, c := range map[string]struct {
		layers []build.Layer
		want   []string
	}{
		"whiteouts": {
			[]build.Layer{build.NewLayer(build.Whiteout("etc/delete"), build.Whiteout("dir"), build.Whiteout("not-there"), build.Whiteout("no/such/folder/x"))},
			[]string{"etc/", "etc/keep=base", "no/", "no/such/", "no/such/folder/"},
		},
		"deleted and back": {
			[]build.Layer{build.NewLayer(build.Whiteout("etc")), build.NewLayer(text("etc/new", "new"))},
			[]string{"dir/", "dir/one=base", "dir/two=base", "etc/", "etc/new=new"},
		},
		"opaque before": {
			[]build.Layer{build.NewLayer(build.Opaque("dir"), text("dir/new", "new"))},
			[]string{"dir/", "dir/new=new", "etc/", "etc/delete=base", "etc/keep=base"},
		},
		"opaque after": {
			[]build.Layer{build.NewLayer(text("dir/new", "new"), build.Opaque("dir"))},
			[]string{"dir/", "dir/new=new", "etc/", "etc/delete=base", "etc/keep=base"},
		},
		"a whiteout before its own replacement": {
			[]build.Layer{build.NewLayer(build.Whiteout("dir"), build.Dir("dir", 0o755), text("dir/new", "new"), build.Whiteout("etc/keep"), text("etc/keep", "new"))},
			[]string{"dir/", "dir/new=new", "etc/", "etc/delete=base", "etc/keep=new"},
		},
		"a whiteout after its own replacement": {
			[]build.Layer{build.NewLayer(text("dir/new", "new"), build.Whiteout("dir"), text("etc/keep", "new"), build.Whiteout("etc/keep"))},
			[]string{"dir/", "dir/new=new", "etc/", "etc/delete=base", "etc/keep=new"},
		},
		"opaque and whiteouts in it": {
			[]build.Layer{build.NewLayer(build.Whiteout("dir/one"), text("dir/new", "new"), build.Opaque("dir"), build.Whiteout("dir/two"))},
			[]string{"dir/", "dir/new=new", "etc/", "etc/delete=base", "etc/keep=base"},
		},
		"replaced and whiteouts in it": {
			[]build.Layer{build.NewLayer(build.Whiteout("dir/one"), text("dir/new", "new"), build.Whiteout("dir"))},
			[]string{"dir/", "dir/new=new", "etc/", "etc/delete=base", "etc/keep=base"},
		},
		"opaque root": {
			[]build.Layer{build.NewLayer(build.Opaque(""), text("only", "new")), build.NewLayer(text("top", "top"))},
			[]string{"only=new", "top=top"},
		},
		"a hard link and a rename": {
			[]build.Layer{build.NewLayer(build.Hardlink("dir/three", "dir/two"), build.Whiteout("dir/two"), build.Whiteout("etc"))},
			[]string{"dir/", "dir/one=base", "dir/three=base"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := openStore(t)
			root := mountImage(t, resolve(t, s, layoutOf(t, append([]build.Layer{base}, c.layers...)...)))
			var got []string
			for _, f := range files(t, root) { // without what is the same in all cases
				top, _, _ := strings.Cut(f, "/")
				switch top {
				case "replaced", "emptied", "file-to-dir=base", "dir-to-file", "secret", "bin":
				default:
					got = append(got, f)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRootOverlayAttributes(t *testing.T) {
	testutil.Privileged(t)
	s, _ := openStore(t)
	root := mountImage(t, resolve(t, s, layoutOf(t,
		build.NewLayer(build.Dir("secret", 0o700).WithOwner(33, 34).WithXattr("user.note", "x"), text("secret/a", ""),
			build.File("bin/tool", 0o755|os.ModeSetuid, []byte("tool")).WithOwner(0, 50).WithXattr("security.capability", capNetBind)),
		build.NewLayer(text("secret/b", ""), build.Hardlink("bin/other", "bin/tool").WithOwner(0, 50)),
	)))
	for path, want := range map[string]struct {
		mode     os.FileMode
		uid, gid uint32
		xattr    string
	}{
		"secret":    {os.ModeDir | 0o700, 33, 34, "user.note"},
		"bin/tool":  {0o755 | os.ModeSetuid, 0, 50, "security.capability"},
		"bin/other": {0o755 | os.ModeSetuid, 0, 50, "security.capability"},
	} {
		fi, err := os.Lstat(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		uid, gid := owner(fi)
		if fi.Mode() != want.mode || uid != want.uid || gid != want.gid {
			t.Errorf("%s: got mode %v of %d:%d, want %v of %d:%d", path, fi.Mode(), uid, gid, want.mode, want.uid, want.gid)
		}
		if got := xattrs(t, filepath.Join(root, path)); !cmp.Equal(got, []string{want.xattr}) {
			t.Errorf("%s: got xattrs %v, want %s", path, got, want.xattr)
		}
	}
}

// capNetBind is the file capability cap_net_bind_service=ep (struct
// vfs_cap_data, revision 2).
const capNetBind = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// A hard link does not reach what an opaque folder hides.
func TestRootHardlinkIntoOpaque(t *testing.T) {
	testutil.Privileged(t)
	s, store := openStore(t)
	base := build.NewLayer(text("dir/file", "base"))
	wantError(t, s, layoutOf(t, base, build.NewLayer(build.Opaque("dir")), build.NewLayer(build.Hardlink("new", "dir/file"))), image.ErrCorrupt)
	wantError(t, s, layoutOf(t, base, build.NewLayer(build.Opaque("")), build.NewLayer(build.Hardlink("new", "dir/file"))), image.ErrCorrupt)
	wantEmpty(t, store)
}

// As many layers as the store accepts fit into a mount.
func TestRootMostLayers(t *testing.T) {
	testutil.Privileged(t)
	s, store := openStore(t)
	n := image.MaxLower / (len(store) + len("/l/") + 32 + len(":"))
	layers := make([]build.Layer, n+2)
	for i := range layers {
		layers[i] = build.NewLayer(text("a", ""))
	}
	wantError(t, s, layoutOf(t, layers...), image.ErrUnsupported)
	mountImage(t, resolve(t, s, layoutOf(t, layers[:n]...)))
}

// A full file system: ErrNoSpace, nothing stays behind, and with more space it
// works.
func TestRootNoSpace(t *testing.T) {
	testutil.Privileged(t)
	ref := layoutOf(t, build.NewLayer(text("a", "a")), build.NewLayer(text("big", strings.Repeat("x", 3<<20))))
	many := make([]build.Entry, 2000)
	for i := range many {
		many[i] = text(filepath.Join("d", strings.Repeat("f", 1+i%200), strings.Repeat("g", 1+i/200)), "")
	}
	manyRef := archiveOf(t, build.NewLayer(many...))
	for name, c := range map[string]struct{ options, more, ref string }{
		"bytes":  {"size=2m", "size=16m", ref},
		"inodes": {"nr_inodes=500", "nr_inodes=5000", manyRef},
	} {
		t.Run(name, func(t *testing.T) {
			disk := mountTmpfs(t, c.options)
			dir := filepath.Join(disk, "images")
			s, err := image.Open(dir, (&logBuffer{}).logger())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			wantError(t, s, c.ref, image.ErrNoSpace, "free some")
			wantEmpty(t, dir)
			if err := unix.Mount("", disk, "", unix.MS_REMOUNT, c.more); err != nil {
				t.Fatal(err)
			}
			resolve(t, s, c.ref)
		})
	}
}

// An image that is unpacked resolves on a full disk: a site must wake on it.
func TestRootResolveOnFullDisk(t *testing.T) {
	testutil.Privileged(t)
	disk := mountTmpfs(t, "size=1m")
	dir := filepath.Join(disk, "images")
	refs := []string{layoutOf(t, build.NewLayer(text("a", "a"))), archiveOf(t, build.NewLayer(text("b", "b")))}
	s := openStoreIn(t, dir)
	for _, ref := range refs {
		resolve(t, s, ref)
	}
	fill, err := os.Create(filepath.Join(disk, "fill"))
	if err != nil {
		t.Fatal(err)
	}
	defer fill.Close()
	for {
		if _, err := fill.Write(make([]byte, 4096)); err != nil {
			break
		}
	}
	again := openStoreIn(t, dir)
	for _, ref := range refs {
		resolve(t, s, ref)
		resolve(t, again, ref)
	}
}

// A bind mount of a folder is still that folder.
func TestRootDirBindMounts(t *testing.T) {
	testutil.Privileged(t)
	s, store := openStore(t)
	for name, source := range map[string]string{"the store": store, "what the store lies in": filepath.Dir(store), "the root": "/"} {
		t.Run(name, func(t *testing.T) {
			target := t.TempDir()
			if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := unix.Unmount(target, 0); err != nil {
					t.Error(err)
				}
			})
			wantError(t, s, "dir:"+target, image.ErrEscape)
		})
	}
}
