package volume_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/volume"
)

func TestRoot(t *testing.T) {
	for _, tt := range []struct{ roots, path, want string }{
		{"/srv", "/srv", "/srv"},
		{"/srv", "/srv/a/b", "/srv"},
		{"/home /srv", "/srv/a", "/srv"},
		{"/", "/etc", "/"},
		{"/srv", "/srv2", ""},
		{"/srv/a", "/srv", ""},
		{"", "/srv", ""},
		{"/srv", "/srv/../etc", ""},
		{"/srv", "srv/a", ""},
		{"/srv", "", ""},
	} {
		got, err := volume.Root(strings.Fields(tt.roots), tt.path)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%q of [%s]: %q %v, want %q", tt.path, tt.roots, got, err, tt.want)
		}
	}
}

func TestOpen(t *testing.T) {
	top := t.TempDir()
	file := filepath.Join(top, "a/b/file")
	err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o600), os.Symlink("b", filepath.Join(top, "a/link")))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{top, filepath.Dir(file), file} {
		f, err := volume.Open([]string{top}, path)
		if err != nil {
			t.Error(err)
			continue
		}
		if err := volume.CheckKind(f, false); err != nil {
			t.Error(err)
		}
		_ = f.Close() // a path descriptor
	}
	for path, want := range map[string]error{
		"a/link": volume.ErrLink, "a/link/file": volume.ErrLink, "a/gone": fs.ErrNotExist, "a/b/file/x": unix.ENOTDIR, "../x": nil,
	} {
		f, err := volume.Open([]string{top}, top+"/"+path)
		if err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: %v %v, want %v", path, f, err, want)
		}
	}
	// A root that is a link is none.
	if f, err := volume.Open([]string{top + "/a/link"}, top+"/a/link/file"); !errors.Is(err, volume.ErrLink) {
		t.Errorf("below a link: %v %v", f, err)
	}
}

// TestOpenRace: what is opened while folder and link are exchanged is the folder, or nothing.
func TestOpenRace(t *testing.T) {
	own, outside := t.TempDir(), t.TempDir()
	a, b := filepath.Join(own, "a"), filepath.Join(own, "b")
	if err := errors.Join(os.MkdirAll(filepath.Join(a, "in"), 0o755), os.Mkdir(filepath.Join(outside, "in"), 0o755), os.Symlink(outside, b)); err != nil {
		t.Fatal(err)
	}
	var bad unix.Stat_t
	if err := unix.Stat(filepath.Join(outside, "in"), &bad); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	over := make(chan struct{})
	defer close(over)
	wg.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
			}
		}
	})
	opened, refused := 0, 0
	for range 5000 {
		f, err := volume.Open([]string{own}, filepath.Join(a, "in"))
		if err != nil {
			refused++
			continue
		}
		opened++
		var st unix.Stat_t
		err = unix.Fstat(int(f.Fd()), &st)
		_ = f.Close() // a path descriptor
		if err != nil || st.Dev == bad.Dev && st.Ino == bad.Ino {
			t.Fatalf("opened what lies outside (%v)", err)
		}
	}
	if opened == 0 || refused == 0 {
		t.Errorf("opened %d times, refused %d times: nothing was raced with", opened, refused)
	}
}

// TestFollow: a link may lead further down, and nowhere else: not by "..", not over another link, not by an absolute path beside it.
func TestFollow(t *testing.T) {
	top := t.TempDir()
	app, other := filepath.Join(top, "app"), filepath.Join(top, "other")
	must(t, os.MkdirAll(app+"/releases/1", 0o755), os.MkdirAll(other, 0o755), os.WriteFile(app+"/releases/1/conf", nil, 0o600),
		os.Symlink("../other", app+"/out"), os.Symlink(other, app+"/away"), os.Symlink("releases", app+"/again"),
		os.Symlink("app", top+"/way"))
	for to, want := range map[string]error{
		"releases/1": nil, "./releases/../releases/1": nil, app + "/releases/1": nil, app + "/x/../releases/1": nil, "releases/1/conf": nil,
		"../other": volume.ErrLeads, "releases/../../other": volume.ErrLeads, other: volume.ErrLeads, app + "/../other": volume.ErrLeads,
		"/etc": volume.ErrLeads, "out": volume.ErrLeads, "away": volume.ErrLeads, "again/1": volume.ErrLeads, app + "/again/1": volume.ErrLeads,
		app + "2": volume.ErrLeads, "releases/2": fs.ErrNotExist, "current": volume.ErrLeads,
	} {
		link := app + "/current"
		_ = os.Remove(link) // the last one
		must(t, os.Symlink(to, link))
		f, err := volume.Source{Path: link, Follow: true}.Open([]string{top})
		if want == nil && err != nil || want != nil && !errors.Is(err, want) {
			t.Errorf("a link to %s: %v, want %v", to, err, want)
		}
		if err == nil {
			_ = f.Close() // a path descriptor
		}
	}
	for _, path := range []string{top + "/way/releases", top + "/way/current"} { // the way to the link is not followed
		f, err := volume.Source{Path: path, Follow: true}.Open([]string{top})
		if !errors.Is(err, volume.ErrLink) {
			t.Errorf("%s: %v %v, want %v", path, f, err, volume.ErrLink)
		}
	}
	f, err := volume.Source{Path: app + "/releases/1", Follow: true}.Open([]string{top}) // no link at all
	must(t, err)
	_ = f.Close() // a path descriptor
}
