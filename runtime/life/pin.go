package life

import (
	"context"
	"errors"
	"fmt"
	"unique"

	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/spec"
)

// imageFor gives the image that a replica starts from: the one that was pinned
// when the spec was applied, which needs the store alone. Where the image came
// from is asked only if the store has lost it, and has to have the same one still.
func (st *Site) imageFor(ctx context.Context, r *Replica, s *spec.Site) (*image.Image, error) {
	img, err := st.findImage(ctx, r.pinned, s)
	if err != nil {
		return nil, err
	}
	st.With(func(*Live) { r.Image = img.Digest })
	if r.pinned == "" && CanPin(s.Image) {
		st.goDo(func() { st.pin(s, img) })
	}
	return img, nil
}

func (st *Site) findImage(ctx context.Context, pinned string, s *spec.Site) (*image.Image, error) {
	if pinned == "" {
		return st.Host.Images.Resolve(ctx, s.Image)
	}
	img, lost := st.Host.Images.Get(pinned)
	if lost == nil {
		return img, nil
	}
	img, err := st.Host.Images.Resolve(ctx, s.Image)
	if err != nil {
		return nil, errors.Join(lost, err)
	}
	if img.Digest != pinned {
		return nil, fmt.Errorf("%w, and %s has another one now, %s: apply the site again to take that", lost, s.Image, img.Digest)
	}
	return img, nil
}

// CanPin says whether the content of an image is known by a digest. That of a
// folder is not.
func CanPin(ref string) bool {
	r, err := image.ParseRef(ref)
	return err == nil && r.Kind != image.KindDir
}

// pin keeps the digest of an image that could not be read when its site was
// applied, or was applied by an older daemon. A visitor comes before it.
func (st *Site) pin(s *spec.Site, img *image.Image) {
	digest := img.Digest
	st.Host.Wakes.Later(st.Host.Ctx.Done())
	pinned, err := st.Host.Store.Pin(st.Name, s.Image, digest)
	if err != nil {
		st.Host.Log.Error("the image of a site is looked up anew at each start until it is pinned", "site", st.Name, "error", err)
	}
	if !pinned {
		return
	}
	if warning := NotMapped(st.Host, s, img); warning != "" {
		st.Host.Tell(event.Event{
			Site: st.Name, Kind: event.Applied, Reason: "image found", Text: "image found; " + warning,
			Fields: map[string]any{"warnings": []string{warning}},
		})
	}
	st.With(func(*Live) {
		if st.Digest == DigestOf(s) && st.Pinned == unique.Make("") {
			st.Pinned = unique.Make(digest)
		}
	})
}
