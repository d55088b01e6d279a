package volume_test

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/fcnode/fcnode/runtime/volume"
)

// mounted gives a source as it would be recorded when it is mounted now.
func mounted(t testing.TB, roots []string, path string, follow bool) volume.Source {
	t.Helper()
	s := volume.Source{Path: path, Follow: follow}
	f, err := s.Open(roots)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if s.Was, err = volume.Identify(f); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestChanged: each way of putting something else at a path is seen; what changes inside of it, or is not there for a moment, is not.
func TestChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // no time passes while another thread looks
		top := t.TempDir()
		in := func(name string) string { return filepath.Join(top, name) }
		roots := []string{top}
		must(t, os.MkdirAll(in("1/sub"), 0o755), os.MkdirAll(in("2"), 0o755), os.WriteFile(in("conf"), []byte("a"), 0o600), os.Symlink("1", in("current")))
		link, folder, file := mounted(t, roots, in("current"), true), mounted(t, roots, in("2"), false), mounted(t, roots, in("conf"), false)
		c := volume.NewComparer(roots, nil)
		want := func(why, path string) {
			t.Helper()
			if got := c.Changed([]volume.Source{folder, file, link}); got != path {
				t.Errorf("%s: %q has changed, want %q", why, got, path)
			}
		}
		want("nothing was done", "")
		must(t, os.WriteFile(in("2/new"), nil, 0o600), os.Chmod(in("2"), 0o700), os.WriteFile(in("conf"), []byte("b"), 0o600))
		want("changed inside", "")

		must(t, os.Symlink("2", in("next")), os.Rename(in("next"), in("current")))
		want("the link leads elsewhere", in("current"))
		must(t, os.Symlink(in("1"), in("next")), os.Rename(in("next"), in("current")))
		want("and back, by another path", "")
		must(t, os.Remove(in("current")))
		want("it is gone for a moment", "")
		must(t, os.Symlink("/etc", in("current")))
		want("it leads to where it may not", "")

		must(t, os.WriteFile(in("conf.new"), nil, 0o600), os.Rename(in("conf.new"), in("conf")))
		want("the file was replaced", in("conf"))
		must(t, os.RemoveAll(in("2")), os.Mkdir(in("2"), 0o755)) // many file systems give it the number of the old one
		want("the folder was made anew", in("2"))
	})
}

// TestInside: what lies inside of a source is found through a link that is followed, and its own links are not.
func TestInside(t *testing.T) {
	top := t.TempDir()
	in := func(name string) string { return filepath.Join(top, name) }
	must(t, os.MkdirAll(in("1/sub/deep"), 0o755), os.MkdirAll(in("2/sub/deep"), 0o755), os.Symlink("1", in("current")), os.Symlink("sub", in("1/link")))
	deep := mounted(t, []string{top}, in("1/sub/deep"), false)
	s := volume.Source{Path: in("current"), Follow: true, Inside: "sub/deep", Was: deep.Was}
	c := volume.NewComparer([]string{top}, nil)
	if f, err := s.Open([]string{top}); err != nil {
		t.Error(err)
	} else if id, err := volume.Identify(f); err != nil || !id.Is(deep.Was) || f.Name() != in("current/sub/deep") || f.Close() != nil {
		t.Errorf("%s: %+v %v", f.Name(), id, err)
	}
	if path := c.Changed([]volume.Source{s}); path != "" {
		t.Errorf("%s has changed", path)
	}
	must(t, os.Remove(in("current")), os.Symlink("2", in("current")))
	if c.Changed([]volume.Source{s}) == "" {
		t.Error("the link leads elsewhere, and nothing has changed")
	}
	for _, inside := range []string{"link/deep", "../2/sub", "/etc"} {
		if f, err := (volume.Source{Path: in("1"), Inside: inside}).Open([]string{top}); err == nil {
			t.Errorf("%s leads to %s", inside, f.Name())
		}
	}
}

func TestIDs(t *testing.T) {
	disk, btrfs, after := uint64(8<<8|1), uint64(42), uint64(43)
	for _, tt := range []struct {
		why  string
		a, b volume.ID
		want bool
	}{
		{"the same", volume.ID{Dev: disk, Inode: 2, Born: 3}, volume.ID{Dev: disk, Inode: 2, Born: 3}, true},
		{"an inode that is used again", volume.ID{Dev: disk, Inode: 2, Born: 3}, volume.ID{Dev: disk, Inode: 2, Born: 4}, false},
		{"birth not known once", volume.ID{Dev: disk, Inode: 2}, volume.ID{Dev: disk, Inode: 2, Born: 4}, true},
		{"another disk", volume.ID{Dev: disk, Inode: 2, Born: 3}, volume.ID{Dev: disk + 1, Inode: 2, Born: 3}, false},
		{"mounted again under another number", volume.ID{Dev: btrfs, Inode: 2, Born: 3}, volume.ID{Dev: after, Inode: 2, Born: 3}, true},
		{"the same without a birth", volume.ID{Dev: btrfs, Inode: 2}, volume.ID{Dev: after, Inode: 2}, false},
		{"another inode", volume.ID{Dev: btrfs, Inode: 2, Born: 3}, volume.ID{Dev: btrfs, Inode: 3, Born: 3}, false},
	} {
		if got := tt.a.Is(tt.b); got != tt.want {
			t.Errorf("%s: %v", tt.why, got)
		}
	}
}

func BenchmarkChanged(b *testing.B) {
	top := b.TempDir()
	if err := os.Mkdir(filepath.Join(top, "1"), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.Symlink("1", filepath.Join(top, "current")); err != nil {
		b.Fatal(err)
	}
	for name, s := range map[string]volume.Source{
		"folder": mounted(b, []string{top}, filepath.Join(top, "1"), false), "link": mounted(b, []string{top}, filepath.Join(top, "current"), true),
	} {
		b.Run(name, func(b *testing.B) {
			c := volume.NewComparer([]string{top}, nil)
			for b.Loop() {
				if c.Changed([]volume.Source{s}) != "" {
					b.Fatal("it has changed")
				}
			}
		})
	}
}
