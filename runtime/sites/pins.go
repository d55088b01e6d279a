package sites

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/spec"
)

// origin says where specs come from.
type origin struct {
	source string // the file; empty: the API
	anew   bool   // images are looked up anew, as whoever applies by the API asks for
	asked  bool   // somebody waits for the answer: what is wrong with one site is an error, and not told only

	// images are the digests of images, by the names of the sites that are to have
	// them; other sites have what their references mean now.
	images map[string]string
}

// lenient says that a site with which something is wrong keeps none of the others
// back.
func (o origin) lenient() bool { return o.source != "" && !o.asked }

// found is the image that a site is to have from an apply on.
type found struct {
	image   *image.Image // nil: it cannot be read yet
	digest  string       // of it; empty: neither it nor an earlier one is known
	warning string
}

// imagesWithin is how long a daemon that reads the folder of specs waits for all
// images together. Unpacking goes on.
const imagesWithin = 30 * time.Second

// findImages unpacks the sites' images, so that no visitor waits for it, and so
// that a wrong one is found out now. What a site's reference means is asked when
// somebody applies the site; a daemon that reads the folder of specs once more
// leaves sites with the images that they have. An image that has gone since
// changes nothing either. Where specs are read from the folder, a missing image
// (a disk not mounted yet, say) must not keep the other sites away: it is told,
// and tried again at the site's wake.
// What a spec asks for and may not have is refused before anything is pulled for it.
func (t *Table) findImages(ctx context.Context, sites []spec.Site, from origin) (map[string]found, error) {
	if t.host.Stopped() {
		return nil, fmt.Errorf("%w: %w", api.ErrUnavailable, life.ErrStopping)
	}
	c := checks{t.host.Cfg, t.host.Log}
	if err := c.privileges(sites, from.source); err != nil {
		return nil, err
	}
	if err := c.limits(sites, from.source); err != nil {
		return nil, err
	}
	if err := c.disk(sites, from.source); err != nil {
		return nil, err
	}
	if !from.anew { // the daemon is not ready before this is over
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, imagesWithin, errors.New("the images of all specs in the folder took too long; it is looked up again at the site's first wake"))
		defer cancel()
	}
	var bad []api.Detail
	out := make(map[string]found, len(sites))
	tried := map[string]lookup{}
	for i := range sites {
		s := &sites[i]
		f, err := t.findImage(ctx, s, from, tried)
		if err == nil {
			err = allows(s, f.image)
		}
		if err != nil && from.anew {
			bad = append(bad, api.Detail{Site: s.Name, Field: "image", Message: err.Error()})
			continue
		}
		if err != nil {
			t.host.Log.Warn("a site's image cannot be used yet", "site", s.Name, "error", err)
		}
		out[s.Name] = f
	}
	bad = append(bad, t.misfits(sites, from, out)...)
	if err := refused("images that cannot be used", from.source, bad); err != nil {
		return nil, err
	}
	return out, nil
}

// misfits looks into images for what would keep sites from ever starting. What
// is found is refused where somebody asks for an image that stays as it is; of a folder,
// which may change, and in the folder of specs, it is a warning. Nothing is said of sites that
// have had their image before.
func (t *Table) misfits(sites []spec.Site, from origin, images map[string]found) (bad []api.Detail) {
	by := map[*image.Image][]*spec.Site{}
	for i := range sites {
		s := &sites[i]
		if img := images[s.Name].image; img != nil && from.images[s.Name] == "" && (from.anew || t.pinnedFor(s) == "") {
			by[img] = append(by[img], s)
		}
	}
	for img, of := range by {
		found, err := life.Misfits(t.host, img, of)
		if err != nil {
			t.host.Log.Warn("cannot look whether sites can start from an image", "image", img.Ref, "error", err)
		}
		for i, misfits := range found {
			s := of[i]
			for _, misfit := range misfits {
				why := fmt.Sprintf("it cannot start from %s: %v", s.Image, misfit)
				if from.anew && life.CanPin(s.Image) {
					bad = append(bad, api.Detail{Site: s.Name, Field: "image", Message: why})
					continue
				}
				f := images[s.Name]
				f.warning = strings.TrimPrefix(f.warning+"; "+why, "; ")
				images[s.Name] = f
			}
		}
	}
	return bad
}

// allows says whether a site may run the programs of its image (nil: it is not known
// yet).
func allows(s *spec.Site, img *image.Image) error {
	if img == nil || img.Config.Architecture == "" {
		return nil
	}
	arch := spec.Architecture(img.Config.Architecture)
	if slices.Contains(s.Architectures, arch) {
		return nil
	}
	return fmt.Errorf("it is of programs for %s: add architectures: [%s] to the spec", arch, strings.Join(spec.RunsOn(runtime.GOARCH), ", "))
}

// lookup is what became of a reference.
type lookup struct {
	img *image.Image
	err error
}

func (t *Table) findImage(ctx context.Context, s *spec.Site, from origin, tried map[string]lookup) (found, error) {
	if digest := from.images[s.Name]; digest != "" {
		img, err := t.byDigest(ctx, s.Image, digest)
		return found{image: img, digest: digest}, err
	}
	pinned := t.pinnedFor(s)
	if pinned != "" && !from.anew {
		if img, err := t.host.Images.Get(pinned); err == nil {
			return found{image: img, digest: pinned}, nil
		}
	}
	l, known := tried[s.Image]
	if !known {
		l.img, l.err = t.host.Images.Resolve(ctx, s.Image)
		tried[s.Image] = l
	}
	switch {
	case l.err == nil && (pinned == "" || from.anew || l.img.Digest == pinned):
		return found{image: l.img, digest: l.img.Digest}, nil
	case l.err == nil:
		return found{digest: pinned}, fmt.Errorf("its image %s is not in the store any more, and %s has another one now, %s: apply the site again to take that",
			pinned, s.Image, l.img.Digest)
	case pinned == "", from.anew && errors.Is(l.err, image.ErrUntrusted):
		return found{digest: pinned}, l.err
	}
	img, err := t.host.Images.Get(pinned)
	if err != nil {
		return found{digest: pinned}, l.err
	}
	return found{image: img, digest: pinned, warning: fmt.Sprintf("image: it stays with %s, which it was applied with: %v", pinned, l.err)}, nil
}

// byDigest gives an image that a reference meant once: of the store, else of where
// it came from, if that can be asked for it.
func (t *Table) byDigest(ctx context.Context, ref, digest string) (*image.Image, error) {
	img, err := t.host.Images.Get(digest)
	if err == nil {
		return img, nil
	}
	exact, ok := image.AtDigest(ref, digest)
	if !ok {
		return nil, fmt.Errorf("%w, and it can only be asked what %s means now", err, ref)
	}
	return t.host.Images.Resolve(ctx, exact)
}

// pinnedFor is the digest that a site of this spec has been applied with; empty:
// with none, or it named another image.
func (t *Table) pinnedFor(s *spec.Site) string {
	e, err := t.ByName(s.Name)
	if err != nil {
		return ""
	}
	var pinned string
	same := false
	e.With(func(*life.Live) { pinned, same = e.Pinned.Value(), e.Digest == life.DigestOf(s) })
	if pinned == "" || same {
		return pinned
	}
	old, err := t.host.Store.Get(s.Name)
	if err != nil || old.Spec.Image != s.Image {
		return ""
	}
	return old.Image
}

// RenewImage gives a site the image that its reference means now. renewed says
// that it is another one, from which the site circulates.
func (t *Table) RenewImage(ctx context.Context, name string) (renewed bool, err error) {
	s, err := t.host.Store.Get(name)
	if err != nil {
		return false, err
	}
	results, err := t.applyFrom(ctx, []spec.Site{s.Spec}, origin{source: s.Source, anew: true}, false)
	if err != nil {
		return false, err
	}
	return results[0].Action == api.ActionUpdated, nil
}
