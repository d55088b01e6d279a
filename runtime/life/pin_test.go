package life

import (
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/image"
)

// image is the digest of what the site's only replica runs from.
func (d *daemon) image(t *testing.T, s *Site) (digest string) {
	t.Helper()
	s.With(func(l *Live) {
		if l.Activity == nil || len(l.Replicas) != 1 {
			t.Fatal("the site has not one replica")
		}
		for _, r := range l.Replicas {
			digest = r.Ctr.Meta()[metaImage]
		}
	})
	return digest
}

// sleep lets the site's visitors go, and waits until nothing of it is left.
func (d *daemon) sleep(t *testing.T, s *Site) {
	t.Helper()
	for _, id := range d.w.ids() {
		d.w.leave(id)
	}
	pass(6 * time.Minute)
	if !d.w.parked(s.ID) {
		t.Fatal("the site does not sleep")
	}
}

// TestWakesNeedNoSource: a site wakes from the image that it has first had, whatever has become of the image's source, and
// whichever daemon wakes it.
func TestWakesNeedNoSource(t *testing.T) {
	inWorld(t, "image: 'oci:/i:1', idle: 5m, tiers: [cold]", func(t *testing.T, w *world, d *daemon, s *Site) {
		d.up(t, s)
		for _, now := range []string{"sha256:b", ""} {
			d.sleep(t, s)
			w.images.tag = now
			d.up(t, s)
			if got := d.image(t, s); got != "sha256:a" {
				t.Errorf("the tag is of %q now, and the site runs from %s", now, got)
			}
		}
		rec, err := d.Store.Get("a")
		if err != nil || rec.Image != "sha256:a" {
			t.Errorf("what is kept of it: %+v, %v", rec, err)
		}
	})
}

// TestLostImage: of an image that the store has lost the same one is taken anew, and no other.
func TestLostImage(t *testing.T) {
	inWorld(t, "image: 'oci:/i:1', idle: 5m, tiers: [cold]", func(t *testing.T, w *world, d *daemon, s *Site) {
		d.up(t, s)
		d.sleep(t, s)
		w.images.unpacked = nil
		d.up(t, s)
		if got := d.image(t, s); got != "sha256:a" {
			t.Errorf("it runs from %s", got)
		}
		d.sleep(t, s)
		w.images.unpacked, w.images.tag = nil, "sha256:b"
		d.visit(s)
		wantKinds(t, d, event.Failed)
		var why string
		s.With(func(l *Live) { why = l.History.Failure.Message })
		if !strings.Contains(why, "apply the site again") {
			t.Errorf("the failure says %q", why)
		}
	})
}

// TestRefusedImageIsNotInUse: a site that may not have its image has none, and does not keep those of others on disk; one whose
// source is away may have any.
func TestRefusedImageIsNotInUse(t *testing.T) {
	inWorld(t, "image: 'oci:/i:1'", func(t *testing.T, w *world, d *daemon, _ *Site) {
		for refused, known := range map[error]bool{image.ErrUntrusted: true, image.ErrLimit: true, image.ErrDenied: false} {
			w.images.refused = refused
			if images, err := d.ImagesInUse(t.Context()); len(images) > 0 || (err == nil) != known {
				t.Errorf("%v: in use are %q, %v", refused, images, err)
			}
		}
	})
}

// TestFolderIsNotPinned: a folder is what it is at each start.
func TestFolderIsNotPinned(t *testing.T) {
	inWorld(t, "image: 'dir:/i', idle: 5m, tiers: [cold]", func(t *testing.T, w *world, d *daemon, s *Site) {
		d.up(t, s)
		d.sleep(t, s)
		w.images.tag = "sha256:b"
		d.up(t, s)
		if got := d.image(t, s); got != "sha256:b" {
			t.Errorf("it runs from %s", got)
		}
	})
}
