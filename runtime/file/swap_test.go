package file_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/fcnode/fcnode/runtime/file"
)

// folder is what is in one, by name.
func folder(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = string(b)
	}
	return out
}

func wantFolder(t *testing.T, what, dir string, want map[string]string) {
	t.Helper()
	got := folder(t, dir)
	if len(got) != len(want) {
		t.Errorf("%s: there is %q, want %q", what, got, want)
		return
	}
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s: %s is %q, want %q", what, name, got[name], text)
		}
	}
}

func TestPut(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	put := func(text string) *file.Swap {
		t.Helper()
		s, err := file.Put(path, []byte(text), 0o640)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	fresh := put("one")
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("the mode of a new file: %v, %v", st.Mode(), err)
	}
	if err := fresh.Undo(); err != nil {
		t.Error(err)
	}
	wantFolder(t, "a new one undone", dir, nil)

	if err := put("one").Keep(); err != nil {
		t.Error(err)
	}
	if err := os.Chmod(path, 0o604); err != nil {
		t.Fatal(err)
	}
	second := put("two")
	wantFolder(t, "before it is decided", dir, map[string]string{"a.yaml": "two", ".a.yaml.fcnode-old": "one"})
	if err := second.Undo(); err != nil {
		t.Error(err)
	}
	wantFolder(t, "undone", dir, map[string]string{"a.yaml": "one"})
	put("three") // and killed
	if err := file.SweepSwaps(dir); err != nil {
		t.Error(err)
	}
	wantFolder(t, "swept", dir, map[string]string{"a.yaml": "three"})
	put("four") // killed, and not swept
	if err := put("five").Keep(); err != nil {
		t.Error(err)
	}
	wantFolder(t, "kept", dir, map[string]string{"a.yaml": "five"})
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o604 {
		t.Errorf("the mode has become %v, %v", st.Mode(), err)
	}
}

// TestPutLinked: a link stays one, and what it leads to is replaced.
func TestPutLinked(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	target, path := filepath.Join(other, "real"), filepath.Join(dir, "a.yaml")
	if err := os.WriteFile(target, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	s, err := file.Put(path, []byte("two"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Keep(); err != nil {
		t.Error(err)
	}
	if to, err := os.Readlink(path); err != nil || to != target {
		t.Errorf("the link leads to %q: %v", to, err)
	}
	wantFolder(t, "behind the link", other, map[string]string{"real": "two"})
	if err := os.Remove(target); err != nil {
		t.Fatal(err)
	}
	if _, err := file.Put(path, []byte("three"), 0o600); err == nil {
		t.Error("a link that leads nowhere was replaced")
	}
	if _, err := file.Put(dir, []byte("three"), 0o600); err == nil {
		t.Error("a folder was replaced")
	}
}
