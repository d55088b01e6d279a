package store

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fcnode/fcnode/runtime/spec"
)

// revisions are those of a site's earlier versions, with its image's names.
func revisions(t *testing.T, s *Store) map[uint64]string {
	t.Helper()
	all, err := s.Versions("blog")
	if err != nil {
		t.Fatal(err)
	}
	out := map[uint64]string{}
	for i, v := range all {
		if i > 0 && all[i-1].Revision <= v.Revision {
			t.Errorf("revision %d comes after %d", v.Revision, all[i-1].Revision)
		}
		out[v.Revision] = v.Spec.Image + " " + v.Image
	}
	return out
}

func TestVersions(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "state.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	site := func(image, digest string) *Site {
		sp := spec.New("blog")
		sp.Image = image
		return &Site{ID: 1, Image: digest, Spec: sp}
	}
	replace := func(image, digest string) {
		t.Helper()
		if err := s.Replace([]*Site{site(image, digest)}); err != nil {
			t.Fatal(err)
		}
	}
	wants := func(what string, want map[uint64]string, current uint64) {
		t.Helper()
		if diff := cmp.Diff(want, revisions(t, s)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
		if now, err := s.Get("blog"); err != nil || now.Revision != current {
			t.Errorf("%s: it is revision %d, want %d: %v", what, now.Revision, current, err)
		}
	}
	if err := s.Put([]*Site{site("a:1", "")}); err != nil { // by an older daemon
		t.Fatal(err)
	}
	wants("none", map[uint64]string{}, 0)
	replace("a:1", "d1")
	wants("pinned", map[uint64]string{}, 1)
	replace("a:1", "d1")
	wants("unchanged", map[uint64]string{}, 1)
	replace("a:1", "d2")
	wants("the tag was moved", map[uint64]string{1: "a:1 d1"}, 2)
	replace("a:2", "d3")
	wants("another tag", map[uint64]string{1: "a:1 d1", 2: "a:1 d2"}, 3)
	replace("a:1", "d2")
	wants("back", map[uint64]string{1: "a:1 d1", 3: "a:2 d3"}, 4)
	if images, err := s.PreviousImages(); err != nil || len(images) != 1 || images[0] != "d3" {
		t.Errorf("the images before are %v: %v", images, err)
	}

	before, err := s.Get("blog")
	if err != nil {
		t.Fatal(err)
	}
	replace("a:9", "d9")
	if err := s.Put([]*Site{before}); err != nil { // what was put is taken back
		t.Fatal(err)
	}
	wants("taken back", map[uint64]string{1: "a:1 d1", 3: "a:2 d3"}, 4)
	replace("a:3", "d4")
	wants("after that", map[uint64]string{1: "a:1 d1", 3: "a:2 d3", 4: "a:1 d2"}, 5)
	for _, n := range []string{"4", "5", "6"} {
		replace("a:"+n, "e"+n)
	}
	wants("as many as are kept", map[uint64]string{3: "a:2 d3", 4: "a:1 d2", 5: "a:3 d4", 6: "a:4 e4", 7: "a:5 e5"}, 8)

	if err := s.Delete("blog"); err != nil {
		t.Fatal(err)
	}
	wants2, err := s.Versions("blog")
	if err != nil || len(wants2) != 0 {
		t.Errorf("deleted: %v, %v", wants2, err)
	}
	replace("a:1", "d1")
	wants("made anew", map[uint64]string{}, 1)
}
