package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fcnode/fcnode/runtime/file"
)

// all gives what is kept, by Site.
func all(t *testing.T, s *Store) (out []Site) {
	t.Helper()
	if err := s.All(func(s *Site) error { out = append(out, *s); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestExportImport: what a store that is open has exported is what the next one has, addresses, numbers and denied sources too; numbers that were
// given there or here are not given again.
func TestExportImport(t *testing.T) {
	from, err := Open(filepath.Join(t.TempDir(), "state.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	denied := []Denial{{Prefix: netip.MustParsePrefix("192.0.2.0/24")}}
	if err := errors.Join(from.Put([]*Site{simple(t, "a"), simple(t, "b")}), from.PutDenied(denied)); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := from.Export(&text); err != nil {
		t.Fatal(err)
	}
	want := all(t, from)

	path := filepath.Join(t.TempDir(), "state.db")
	imported := func(replace bool) {
		t.Helper()
		if n, err := Import(path, "x", text.Bytes(), replace); n != 2 || err != nil {
			t.Fatalf("%d sites, %v", n, err)
		}
	}
	imported(false) // where nothing is
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, all(t, s), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got, err := s.Denied(func(string, error) {}); err != nil || len(got) != 1 || got[0].Prefix != denied[0].Prefix {
		t.Errorf("denied: %+v %v", got, err)
	}
	if _, err := Import(path, "x", text.Bytes(), true); !errors.Is(err, ErrLocked) {
		t.Errorf("while it is open: %v", err)
	}
	// A site more, which an import takes away; its number is not given again.
	c := simple(t, "c")
	if err := errors.Join(s.Put([]*Site{c}), s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Import(path, "x", text.Bytes(), false); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("over sites: %v", err)
	}
	imported(true)
	if s, err = Open(path, Options{}); err != nil {
		t.Fatal(err)
	}
	d := simple(t, "d")
	if err := s.Put([]*Site{d}); err != nil || d.ID <= c.ID || s.Recovered() != nil {
		t.Errorf("number %d after %d, %v, %+v", d.ID, c.ID, err, s.Recovered())
	}
	if got := all(t, s); len(got) != 3 {
		t.Errorf("it has %+v", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := Open(path+BeforeImport, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := all(t, before); len(got) != 3 || got[2].Spec.Name != "c" {
		t.Errorf("before it were %+v", got)
	}
	if err := before.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestImportRefuses: a text that is not what a daemon could serve changes nothing, and says where it is wrong.
func TestImportRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state.db")
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put([]*Site{simple(t, "kept")}); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := errors.Join(s.Export(&text), s.Close()); err != nil {
		t.Fatal(err)
	}
	sum := func(edit func(string) string) []byte {
		body := strings.Join(strings.SplitAfter(text.String(), "\n")[:2], "")
		body = edit(body)
		return fmt.Appendf(nil, "%s%s%x\n", body, sumPrefix, sha256.Sum256([]byte(body)))
	}
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		text []byte
		says string
	}{
		"nothing":          {nil, "checksum"},
		"something else":   {[]byte("name: blog\n"), "checksum"},
		"cut off":          {text.Bytes()[:text.Len()/2], "checksum"},
		"a bit":            {bytes.Replace(text.Bytes(), []byte("kept"), []byte("kepu"), 1), "checksum"},
		"newer":            {sum(func(s string) string { return strings.Replace(s, `"version":1`, `"version":2`, 1) }), "newer fcnode"},
		"a site less":      {sum(func(s string) string { return strings.Replace(s, `"sites":1`, `"sites":2`, 1) }), "it has 1 sites, and says 2"},
		"a wrong spec":     {sum(func(s string) string { return strings.Replace(s, `"name":"kept"`, `"name":"K"`, 1) }), "x:2:"},
		"an unknown field": {sum(func(s string) string { return strings.Replace(s, `"name":"kept"`, `"nome":"kept"`, 1) }), "x:2:"},
	} {
		_, err := Import(path, "x", tt.text, true)
		if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(tt.says, "checksum") && !errors.Is(err, file.ErrDamaged) {
			t.Errorf("%s: %v, want %q", name, err, tt.says)
		}
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, old) {
		t.Errorf("the state file has changed, %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 2 {
		t.Errorf("it leaves %v %v", left, err)
	}
}
