package sites

import (
	"errors"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/image"
)

func (d *desk) rollback(revision uint64) error {
	_, err := d.Rollback(d.t.Context(), "blog", revision, false)
	return err
}

// pinned is the digest that the site is to run from.
func (d *desk) pinned() string {
	d.t.Helper()
	kept, err := d.host.Store.Get("blog")
	if err != nil {
		d.t.Fatal(err)
	}
	return kept.Image
}

// TestRollback: the file says again what it said, and the image is the one of then,
// whatever its tag means now.
func TestRollback(t *testing.T) {
	d := newDesk(t, map[string]string{})
	d.images["reg.example/blog@sha256:reg.example/blog:1"] = nil
	for _, text := range []string{blog("1"), blog("2"), blog("2") + "env: {A: b}   # why\n"} {
		if err := d.write("blog", text); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Rollback(t.Context(), "blog", 0, true); err != nil {
		t.Error(err)
	}
	d.wants("a dry run", "blog.yaml", blog("2")+"env: {A: b}   # why\n")
	if err := d.rollback(0); err != nil {
		t.Fatal(err)
	}
	d.wants("one back", "blog.yaml", blog("2"))
	if err := d.rollback(1); err != nil {
		t.Fatal(err)
	}
	d.wants("to the first", "blog.yaml", blog("1"))
	if img, source := d.serves("blog"); img != "reg.example/blog:1" || source != d.dir {
		t.Errorf("it serves %q of %q", img, source)
	}
	if err := d.rollback(0); err != nil { // what was rolled back is a version, too
		t.Fatal(err)
	}
	d.wants("and back", "blog.yaml", blog("2"))
	if err := d.rollback(99); !errors.Is(err, api.ErrConflict) || !strings.Contains(err.Error(), "revision 99") {
		t.Errorf("no such revision: %v", err)
	}
	if _, err := d.Rollback(t.Context(), "nobody", 0, false); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("no such site: %v", err)
	}
}

// TestRollbackImage: the tag has moved, and its old image is to be run again.
func TestRollbackImage(t *testing.T) {
	d := newDesk(t, map[string]string{"blog.yaml": blog("1")})
	if err := d.ApplyDir(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if err := d.rollback(0); !errors.Is(err, api.ErrConflict) {
		t.Errorf("nothing to go back to: %v", err)
	}
	old := d.pinned()
	d.images["moved"] = nil
	d.move("reg.example/blog:1", "moved")
	if err := d.write("blog", blog("1")); err != nil {
		t.Fatal(err)
	}
	if now := d.pinned(); now == old {
		t.Fatalf("it is pinned to %s still", now)
	}
	if err := d.rollback(0); err != nil {
		t.Fatal(err)
	}
	if now := d.pinned(); now != old {
		t.Errorf("it is pinned to %s, not to %s", now, old)
	}
	if err := d.ApplyDir(t.Context(), false); err != nil || d.pinned() != old {
		t.Errorf("a reload pins it to %s: %v", d.pinned(), err)
	}
}

// TestRollbackFails: an image that is gone for good leaves all as it was.
func TestRollbackFails(t *testing.T) {
	d := newDesk(t, map[string]string{})
	for _, tag := range []string{"1", "2"} {
		if err := d.write("blog", blog(tag)); err != nil {
			t.Fatal(err)
		}
	}
	d.images["reg.example/blog:1"] = image.ErrNotFound // also of the store
	if err := d.rollback(0); err == nil || !strings.Contains(err.Error(), "blog@sha256:") {
		t.Errorf("its image is gone: %v", err)
	}
	d.wants("refused", "blog.yaml", blog("2"))
	d.images["reg.example/blog@sha256:reg.example/blog:1"] = nil // the registry has it
	if err := d.rollback(0); err != nil {
		t.Error(err)
	}
	d.wants("pulled by its digest", "blog.yaml", blog("1"))
}

func TestRollbackWithoutFolder(t *testing.T) {
	d := newDesk(t, nil)
	for _, tag := range []string{"1", "2"} {
		if err := d.write("blog", blog(tag)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.rollback(0); err != nil {
		t.Fatal(err)
	}
	if img, source := d.serves("blog"); img != "reg.example/blog:1" || source != "" {
		t.Errorf("it serves %q of %q", img, source)
	}
}

// TestRollbackOne: a file of two sites, in which somebody has made a mistake with
// the one that is rolled back. The other keeps its own image.
func TestRollbackOne(t *testing.T) {
	other := "---\nname: other\nimage: reg.example/blog:2\nports: [81]\n"
	d := newDesk(t, map[string]string{"all.yaml": blog("1") + other})
	if err := d.ApplyDir(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if err := d.write("blog", blog("1")+"env: {A: b}\n"+other); err != nil {
		t.Fatal(err)
	}
	d.put("all.yaml", blog("1")+"env: {A: b}\nscale: {min: 3, max: 2}\n"+other)
	if err := d.rollback(0); err != nil {
		t.Fatal(err)
	}
	d.wants("one of two", "all.yaml", blog("1")+other)
	if kept, err := d.host.Store.Get("other"); err != nil || kept.Image != "sha256:reg.example/blog:2" {
		t.Errorf("the other site is to run from %s: %v", kept.Image, err)
	}
}
