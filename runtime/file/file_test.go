package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// damages are what a file is replaced by; each is found out without waiting.
var damages = map[string]func(path string) error{
	"a folder":          func(p string) error { return os.Mkdir(p, 0o700) },
	"a FIFO":            func(p string) error { return unix.Mkfifo(p, 0o600) },
	"a dangling link":   func(p string) error { return os.Symlink("/nowhere/at/all", p) },
	"a looping link":    func(p string) error { return os.Symlink(filepath.Base(p), p) },
	"a huge file":       func(p string) error { return errors.Join(os.WriteFile(p, nil, 0o600), os.Truncate(p, 1<<40)) },
	"one byte too many": func(p string) error { return os.WriteFile(p, []byte("12345"), 0o600) },
	"a socket": func(p string) error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		return errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: p}), unix.Close(fd))
	},
}

func TestDamageIsFound(t *testing.T) {
	for what, make := range damages {
		path := filepath.Join(t.TempDir(), "f")
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		if b, err := Read(path, 4); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: read %q, %v", what, b, err)
		}
		if err := Check(path, 4); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: checked: %v", what, err)
		}
		err := CheckDir(path)
		if isDir := what == "a folder"; isDir != (err == nil) || !isDir && !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: checked as a folder: %v", what, err)
		}
		to, err := Quarantine(path, filepath.Join(filepath.Dir(path), "quarantine"))
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := os.Lstat(to); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if err := errors.Join(Check(path, 4), CheckDir(path)); err != nil {
			t.Errorf("%s: in its place is %v", what, err)
		}
	}
}

func TestSoundFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if _, err := Read(path, 4); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if err := errors.Join(Check(path, 4), CheckDir(path)); err != nil {
		t.Errorf("a missing file: %v", err)
	}
	if err := os.WriteFile(path, []byte("1234"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := Read(path, 4); err != nil || string(b) != "1234" {
		t.Errorf("read %q, %v", b, err)
	}
	link := filepath.Join(dir, "link") // an operator's, to another disk
	if err := os.Symlink("f", link); err != nil {
		t.Fatal(err)
	}
	if err := Check(link, 4); err != nil {
		t.Error(err)
	}
}

// TestQuarantineIsBounded: also where the folder itself is in the way.
func TestQuarantineIsBounded(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "quarantine")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	last := ""
	for i := range kept + 3 {
		path := filepath.Join(root, "bad")
		err := os.WriteFile(path, fmt.Append(nil, i), 0o600)
		if err == nil {
			last, err = Quarantine(path, dir)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != kept {
		t.Errorf("%d things, %v", len(entries), err)
	}
	if b, err := os.ReadFile(last); err != nil || string(b) != fmt.Sprint(kept+2) {
		t.Errorf("the newest is %q, %v", b, err)
	}
}

func TestNothingIsRemovedFromWhatIsNoFolder(t *testing.T) {
	for what, make := range damages {
		path := filepath.Join(t.TempDir(), "f")
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		if err := RemoveAll(filepath.Join(path, "below")); err != nil && what != "a looping link" {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}
