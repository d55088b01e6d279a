package secret_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/secret"
	"github.com/fcnode/fcnode/runtime/volume"
)

// folder makes a root of secrets, and a function that puts a file below it.
func folder(t *testing.T) (root string, put func(name, content string, mode os.FileMode) string) {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return root, func(name, content string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
}

func TestRead(t *testing.T) {
	root, put := folder(t)
	s, err := secret.Read([]string{"/nowhere", root}, put("db", "s3cret\n", 0o600))
	if err != nil || s.Folder || len(s.Files) != 1 || string(s.Files[0].Content) != "s3cret\n" {
		t.Fatalf("%+v %v", s, err)
	}
	if v, err := s.Variable("DB"); v != "s3cret" || err != nil {
		t.Errorf("as a variable: %q %v", v, err)
	}
	put("tls/key", "k", 0o400)
	put("tls/cert", "c", 0o600)
	s, err = secret.Read([]string{root}, filepath.Join(root, "tls"))
	if err != nil || !s.Folder || len(s.Files) != 2 || s.Files[0].Name != "cert" || string(s.Files[1].Content) != "k" || len(s.Sources) != 3 {
		t.Fatalf("%+v %v", s, err)
	}
	if _, err := s.Variable("TLS"); err == nil || !strings.Contains(err.Error(), "is a folder") {
		t.Errorf("a folder as a variable: %v", err)
	}
}

// TestReadRefuses: each is told with what is in the way, and no error has the content.
func TestReadRefuses(t *testing.T) {
	const content = "s3cret"
	root, put := folder(t)
	link := func(name, to string) string {
		if err := os.Symlink(to, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(root, name)
	}
	within := func(name string, mode os.FileMode) string {
		path := put(name, content, 0o600)
		if err := os.Chmod(filepath.Dir(path), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	fifo := filepath.Join(root, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	good := put("inner/good", content, 0o600)
	within("open/x", 0o750)
	put("mixed/exposed", content, 0o640)
	put("deep/er/x", content, 0o600)
	for i := range secret.MaxFiles + 1 {
		put("many/"+strings.Repeat("x", i+1), "", 0o600)
	}
	put("sum/a", strings.Repeat("x", secret.MaxSize), 0o600)
	put("sum/b", "x", 0o600)
	for _, tt := range []struct {
		path string
		want error
		says string
	}{
		{"/etc/passwd", secret.ErrOutside, "secretRoots"},
		{root, secret.ErrOutside, "secretRoots"},
		{root + "x/db", secret.ErrOutside, "secretRoots"},
		{filepath.Join(root, "none"), os.ErrNotExist, "none"},
		{filepath.Join(good, "x"), unix.ENOTDIR, "good"},
		{put("group", content, 0o640), secret.ErrExposed, "chmod 0600"},
		{put("all", content, 0o604), secret.ErrExposed, "chmod 0600"},
		{filepath.Join(root, "open"), secret.ErrExposed, "chmod 0700"},
		{within("writable/x", 0o770), secret.ErrExposed, "chmod go-w"},
		{filepath.Join(root, "mixed"), secret.ErrExposed, "mixed/exposed"},
		{link("link", good), nil, "is a symbolic link"},
		{link("linked", filepath.Dir(good)) + "/good", nil, "linked is a symbolic link"},
		{fifo, nil, "no regular file"},
		{filepath.Join(root, "deep"), nil, "deep/er is no regular file"},
		{filepath.Join(root, "many"), nil, "more than 64 files"},
		{put("large", strings.Repeat("x", secret.MaxSize+1), 0o600), nil, "too large"},
		{filepath.Join(root, "sum"), nil, "sum/b is too large"},
	} {
		_, err := secret.Read([]string{root}, tt.path)
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), content) {
			t.Errorf("%s: %v; want %v, %q", tt.path, err, tt.want, tt.says)
		}
	}
	for text, says := range map[string]string{"a\x00b": "NUL", strings.Repeat("x", 131071): "more than the kernel takes"} {
		s, err := secret.Read([]string{root}, put("value", text, 0o600))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Variable("NAME"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", says, err)
		}
	}
}

// TestChangeIsSeen: whatever is done to a secret, those who have the old one are out
// of date; also where it keeps its inode and size.
func TestChangeIsSeen(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"nothing":          func(string) error { return nil },
		"written in place": func(path string) error { return os.WriteFile(path, []byte("new"), 0o600) },
		"replaced": func(path string) error {
			return errors.Join(os.WriteFile(path+".new", []byte("new"), 0o600), os.Rename(path+".new", path))
		},
		"a file more": func(path string) error { return os.WriteFile(filepath.Dir(path)+"/more", nil, 0o600) },
		"readable":    func(path string) error { return os.Chmod(path, 0o644) },
	} {
		root, put := folder(t)
		path := put("tls/key", "old", 0o600)
		s, err := secret.Read([]string{root}, filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		c := volume.NewComparer(nil, []string{root})
		// One that was written a moment ago counts as changed: the clock of files is coarse.
		for c.Changed(s.Sources) != "" {
			if s, err = secret.Read([]string{root}, filepath.Dir(path)); err != nil {
				t.Fatal(err)
			}
		}
		if err := change(path); err != nil {
			t.Fatal(err)
		}
		if got := c.Changed(s.Sources) != ""; got != (name != "nothing") {
			t.Errorf("%s: changed is %t", name, got)
		}
		if !slices.ContainsFunc(s.Sources, func(s volume.Source) bool { return s.Inside == "key" }) {
			t.Errorf("sources: %+v", s.Sources)
		}
	}
}
