package sites

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/image/build"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/runtime/store"
)

// TestTrim: where images take more than they may, those go that no site has, which were looked up longest ago first; not one that
// was looked up just now.
func TestTrim(t *testing.T) {
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	kept, err := store.Open(filepath.Join(dir, "state.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	open := func() *image.Store {
		s, err := image.Open(filepath.Join(dir, "images"), log)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	var refs, digests []string
	s := open()
	for _, name := range []string{"first", "second", "third"} {
		at := filepath.Join(dir, name)
		if _, err := build.Layout(at, "1", build.Config{}, build.NewLayer(build.File(name, 0o644, bytes.Repeat([]byte(name[:1]), 1<<20)))); err != nil {
			t.Fatal(err)
		}
		refs = append(refs, "oci:"+at+":1")
		got, err := s.Resolve(t.Context(), refs[len(refs)-1])
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, got.Digest)
	}
	specs, err := spec.Parse("blog.yaml", strings.NewReader("name: blog\nimage: "+refs[1]+"\nports: [80]\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := kept.Put([]*store.Site{{ID: 1, Spec: specs[0], Image: digests[1]}}); err != nil {
		t.Fatal(err)
	}
	s = open() // the next daemon, which has looked up none of them
	m := StoredImages{Host: &life.Host{Log: log, Store: kept, Images: s}, Store: s}
	has := func(step string, most uint64, want ...string) {
		t.Helper()
		size, err := m.Trim(t.Context(), most)
		if err != nil {
			t.Fatal(err)
		}
		all, err := m.Images(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, i := range all {
			got = append(got, i.Digest)
		}
		slices.Sort(got)
		if want = slices.Sorted(slices.Values(want)); !slices.Equal(got, want) || size < uint64(len(want))<<20 {
			t.Errorf("%s: there are %q in %d bytes, want %q", step, got, size, want)
		}
	}
	has("enough", 4<<20, digests...)
	has("for two", 5<<19, digests[1], digests[2])
	has("for none", 1, digests[1])
	if _, err := s.Resolve(t.Context(), refs[0]); err != nil {
		t.Fatal(err)
	}
	has("in hand", 1, digests[0], digests[1])

	// A site that was applied while its image could not be had is one that has it.
	if specs, err = spec.Parse("late.yaml", strings.NewReader("name: late\nimage: "+refs[0]+"\nports: [80]\n")); err != nil {
		t.Fatal(err)
	}
	if err := kept.Put([]*store.Site{{ID: 2, Spec: specs[0]}}); err != nil {
		t.Fatal(err)
	}
	m.Store = open()
	has("of a site that has no image yet", 1, digests[0], digests[1])
	if err := m.RemoveImage(t.Context(), digests[0]); !errors.Is(err, api.ErrBusy) {
		t.Errorf("removing the image of a site that has none yet: %v", err)
	}
}
