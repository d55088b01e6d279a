package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/file"
)

// kept makes a state file of some sites, with its copy, and returns its path.
func kept(t *testing.T, sites int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state.db")
	s, err := Open(path, Options{NoCopy: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	var all []*Site
	for i := range sites {
		all = append(all, simple(t, fmt.Sprintf("site-%03d", i)))
	}
	if err := s.Put(all); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.ReplicaIDs(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestDamagedStateFileIsReplacedByItsCopy: whatever is in its place.
func TestDamagedStateFileIsReplacedByItsCopy(t *testing.T) {
	const sites = 300
	for what, damage := range map[string]func(path string) error{
		"gone":            os.Remove,
		"empty":           func(p string) error { return os.Truncate(p, 0) },
		"cut to a half":   func(p string) error { return os.Truncate(p, 40<<10) },
		"cut by a page":   func(p string) error { return os.Truncate(p, 4096*2+1) },
		"garbage":         func(p string) error { return os.WriteFile(p, []byte(strings.Repeat("x", 1<<16)), 0o600) },
		"huge":            func(p string) error { return errors.Join(os.Truncate(p, 0), os.Truncate(p, 1<<40)) },
		"a folder":        func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) },
		"a FIFO":          func(p string) error { return errors.Join(os.Remove(p), unix.Mkfifo(p, 0o600)) },
		"a dangling link": func(p string) error { return errors.Join(os.Remove(p), os.Symlink("/nowhere/at/all", p)) },
		"a looping link":  func(p string) error { return errors.Join(os.Remove(p), os.Symlink("state.db", p)) },
	} {
		path := kept(t, sites)
		if err := damage(path); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path, Options{})
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		r := s.Recovered()
		if r == nil || r.Sites != sites || r.Made.IsZero() || (r.Files == "") != (what == "gone") {
			t.Errorf("%s: recovered %+v", what, r)
		}
		first, _, err := s.ReplicaIDs()
		if err != nil || first <= 4096 {
			t.Errorf("%s: replica number %d is given again (%v)", what, first, err)
		}
		site, err := s.Get("site-299")
		if err != nil || site.ID != sites {
			t.Errorf("%s: the last site is %+v, %v", what, site, err)
		}
		fresh := simple(t, "new")
		if err := errors.Join(s.Put([]*Site{fresh}), s.Close()); err != nil || fresh.ID != sites+1 {
			t.Errorf("%s: a new site has number %d, %v", what, fresh.ID, err)
		}
		if s, err = Open(path, Options{}); err != nil || s.Recovered() != nil {
			t.Errorf("%s: a second time: %v", what, err)
			continue
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestRandomDamageNeverPanics: the file opens with what can be read of it, or its
// copy takes its place. Seeds that were ever bad stay named here.
func TestRandomDamageNeverPanics(t *testing.T) {
	path := kept(t, 300)
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	recovered := 0
	for seed := range uint64(24) {
		r := rand.New(rand.NewPCG(seed, 11))
		b := append([]byte{}, sound...)
		at, n := r.IntN(len(b)), 1+r.IntN(5000)
		for i := at; i < min(len(b), at+n); i++ {
			b[i] = byte(r.Uint32())
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path, Options{})
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
			continue
		}
		if s.Recovered() != nil {
			recovered++
		}
		seen := 0
		err = s.Readable(func(*Site) error { seen++; return nil }, func(name string, _ error) error {
			if _, err := s.FromCopy(name); err == nil {
				seen++
			}
			return nil
		})
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		if s.Recovered() != nil && seen != 300 {
			t.Errorf("seed %d: %d sites of the copy", seed, seen)
		}
		_ = s.Close() // what is written may hit damage that nothing has read
	}
	if recovered == 0 {
		t.Error("no damage was seen")
	}
}

// TestDamagedBoth: the error says what to do.
func TestDamagedBoth(t *testing.T) {
	path := kept(t, 3)
	if err := errors.Join(os.Truncate(path, 100), os.Truncate(path+CopySuffix, 100)); err != nil {
		t.Fatal(err)
	}
	_, err := Open(path, Options{})
	if !errors.Is(err, file.ErrDamaged) || !strings.Contains(err.Error(), "put a backup") {
		t.Errorf("%v", err)
	}
}

// TestCopyOfADamagedRecord: a copy keeps what the state file has lost.
func TestCopyOfADamagedRecord(t *testing.T) {
	path := kept(t, 3)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b = []byte(strings.ReplaceAll(string(b), `"name":"site-001"`, `"name":"site-0#1"`))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Recovered() != nil {
		t.Fatal("only a record is damaged")
	}
	if err := errors.Join(s.Put([]*Site{simple(t, "new")}), s.Close()); err != nil {
		t.Fatal(err)
	}
	if c, err := readCopy(path + CopySuffix); err != nil || len(c.records) != 4 {
		t.Errorf("the copy is %+v, %v", c, err)
	}
}
