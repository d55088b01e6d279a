package sites

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/store"
)

// StoredImages answers the API about the images that the node has.
type StoredImages struct {
	Host  *life.Host
	Store *image.Store
}

// Pull implements api.Backend.
func (m StoredImages) Pull(ctx context.Context, ref string) iter.Seq2[api.Pull, error] {
	return func(yield func(api.Pull, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		gone := false
		tell := func(at image.Progress) {
			if !gone && !yield(api.Pull{Layers: at.Layers, Of: at.Of, Bytes: at.Bytes, Size: at.Size}, nil) {
				gone = true
				cancel()
			}
		}
		img, err := m.Host.Images.Resolve(image.WithProgress(ctx, tell), ref)
		switch {
		case gone:
		case err != nil:
			yield(api.Pull{}, pullError(ref, err))
		default:
			about := aboutImage(img.Digest, img.Config)
			yield(api.Pull{Image: &about}, nil)
		}
	}
}

// Images implements api.Backend.
func (m StoredImages) Images(ctx context.Context) ([]api.StoredImage, error) {
	kept, err := m.Store.List(ctx)
	if err != nil {
		return nil, err
	}
	used, err := m.uses()
	if err != nil {
		return nil, err
	}
	out := make([]api.StoredImage, 0, len(kept))
	for i := range kept {
		out = append(out, stored(&kept[i], used[kept[i].Digest]))
	}
	return out, nil
}

// Image implements api.Backend.
func (m StoredImages) Image(ctx context.Context, digest string) (api.StoredImage, error) {
	kept, err := m.Store.List(ctx)
	if err != nil {
		return api.StoredImage{}, err
	}
	i := slices.IndexFunc(kept, func(k image.Kept) bool { return k.Digest == digest })
	if i < 0 {
		return api.StoredImage{}, fmt.Errorf("image %q: %w", digest, api.ErrNotFound)
	}
	used, err := m.uses()
	if err != nil {
		return api.StoredImage{}, err
	}
	k := &kept[i]
	out := stored(k, used[digest])
	out.Run = &api.ImageRun{
		Entrypoint: k.Config.Entrypoint, Command: k.Config.Cmd, Env: k.Config.Env, Workdir: k.Config.WorkingDir, User: k.Config.User, StopSignal: k.Config.StopSignal,
	}
	for _, l := range k.Layers {
		out.LayerList = append(out.LayerList, api.ImageLayer{ID: l.ID, Bytes: l.Bytes, Images: l.Images})
	}
	return out, nil
}

// RemoveImage implements api.Backend.
func (m StoredImages) RemoveImage(ctx context.Context, digest string) error {
	if _, err := m.Image(ctx, digest); err != nil {
		return err
	}
	used, err := m.uses()
	if err != nil {
		return err
	}
	switch u := used[digest]; {
	case len(u.sites) > 0:
		return &api.Error{
			Code: api.CodeBusy, Message: fmt.Sprintf("image %s is that of %s", digest, strings.Join(u.sites, ", ")),
			Hint: "delete these sites, or give them another image, first",
		}
	case u.before:
		return &api.Error{
			Code: api.CodeBusy, Message: fmt.Sprintf("image %s is kept for fcnode rollback: a site had it before it was changed last", digest),
			Hint: "it goes by itself when that site is changed again or deleted",
		}
	case u.runs:
		return &api.Error{Code: api.CodeBusy, Message: fmt.Sprintf("replicas run from image %s", digest), Hint: "try again when they have ended (fcnode list)"}
	}
	inUse, err := m.Host.ImagesInUse(ctx)
	if err != nil {
		return err
	}
	if slices.Contains(inUse, digest) {
		return &api.Error{
			Code: api.CodeBusy, Message: fmt.Sprintf("image %s is what the name in a site's spec means now", digest),
			Hint: "that site was applied while its image could not be had; its first wake takes this one",
		}
	}
	err = m.Store.Remove(ctx, digest)
	if errors.Is(err, image.ErrNotFound) {
		return fmt.Errorf("image %q: %w", digest, api.ErrNotFound)
	}
	return err
}

// PruneImages implements api.Backend.
func (m StoredImages) PruneImages(ctx context.Context) (api.Pruned, error) {
	keep, err := m.Host.ImagesInUse(ctx)
	if err != nil {
		return api.Pruned{}, err
	}
	removed, err := m.Store.Prune(ctx, keep)
	return api.Pruned{Images: removed.Images, Layers: removed.Layers}, err
}

// inHand is for how long an image that was looked up may be about to be used by whoever has done so.
const inHand = 10 * time.Minute

// KeepWithin trims them when they have grown, and now and then, until the context ends; 0: there is no such bound.
func (m StoredImages) KeepWithin(ctx context.Context, most uint64, grown <-chan struct{}) {
	if most == 0 {
		return
	}
	tick := time.NewTicker(inHand)
	defer tick.Stop()
	told := false
	for {
		bytes, err := m.Trim(ctx, most)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			m.Host.Log.Warn("what images take is not kept within images.disk for now", "error", err)
		case bytes > most && !told:
			m.Host.Log.Warn("images take more than images.disk, and sites have all of them, or had them just now", "bytes", bytes)
		}
		told = bytes > most
		select {
		case <-grown:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Trim removes images that nobody uses, those first that were looked up longest ago, until all take no more than so many
// bytes of disk. It says how many they take in the end.
func (m StoredImages) Trim(ctx context.Context, most uint64) (bytes uint64, err error) {
	for {
		kept, err := m.Store.List(ctx)
		if err != nil {
			return 0, err
		}
		if bytes = taken(kept); bytes <= most {
			return bytes, nil
		}
		inUse, err := m.Host.ImagesInUse(ctx)
		if err != nil {
			return bytes, err
		}
		kept = slices.DeleteFunc(kept, func(k image.Kept) bool { return slices.Contains(inUse, k.Digest) || time.Since(k.Used) < inHand })
		if len(kept) == 0 {
			return bytes, nil
		}
		oldest := slices.MinFunc(kept, func(a, b image.Kept) int { return cmp.Or(a.Used.Compare(b.Used), a.Unpacked.Compare(b.Unpacked)) })
		if err := m.Store.Remove(ctx, oldest.Digest); err != nil && !errors.Is(err, image.ErrNotFound) {
			return bytes, err
		}
		m.Host.Log.Info("an image that nobody uses was removed, as all take more than images.disk", "digest", oldest.Digest, "name", oldest.Ref)
	}
}

// taken is what images take together.
func taken(kept []image.Kept) (bytes uint64) {
	counted := map[string]bool{}
	for _, k := range kept {
		for _, l := range k.Layers {
			if !counted[l.ID] {
				counted[l.ID] = true
				bytes += l.Bytes
			}
		}
	}
	return bytes
}

// use says what an image is needed for.
type use struct {
	refs, sites  []string
	before, runs bool // for a rollback; by a replica
}

// uses are those of all images, by their digests, as people are told: that which the name of a spec means whose
// image could not be had yet is only known to who asks its source (life.Host.ImagesInUse).
func (m StoredImages) uses() (map[string]use, error) {
	out := map[string]use{}
	change := func(digest string, f func(u *use)) {
		if digest == "" {
			return
		}
		u := out[digest]
		f(&u)
		out[digest] = u
	}
	err := m.Host.Store.All(func(s *store.Site) error {
		change(s.Image, func(u *use) {
			u.sites = append(u.sites, s.Spec.Name)
			if !slices.Contains(u.refs, s.Spec.Image) {
				u.refs = append(u.refs, s.Spec.Image)
			}
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	before, err := m.Host.Store.PreviousImages()
	if err != nil {
		return nil, err
	}
	for _, digest := range before {
		change(digest, func(u *use) { u.before = true })
	}
	for _, digest := range life.RunningImages(m.Host) {
		change(digest, func(u *use) { u.runs = true })
	}
	return out, nil
}

func aboutImage(digest string, c image.Config) api.Image {
	return api.Image{Digest: digest, Ports: c.ExposedPorts, Volumes: c.Volumes, Architecture: c.Architecture}
}

func stored(k *image.Kept, u use) api.StoredImage {
	all, own := k.Bytes()
	out := api.StoredImage{
		Image: aboutImage(k.Digest, k.Config),
		Refs:  u.refs, Sites: u.sites, Used: len(u.sites) > 0 || u.before || u.runs,
		Layers: len(k.Layers), Bytes: all, Own: own, Unpacked: k.Unpacked,
	}
	if k.Ref != "" && !slices.Contains(out.Refs, k.Ref) {
		out.Refs = append(out.Refs, k.Ref)
	}
	slices.Sort(out.Sites)
	return out
}

// pullError says whose fault it is that an image cannot be had.
func pullError(ref string, err error) error {
	code, hint := api.CodeInvalid, ""
	switch {
	case errors.Is(err, image.ErrNoSpace), errors.Is(err, image.ErrClosed):
		code = api.CodeUnavailable
	case errors.Is(err, image.ErrReference), errors.Is(err, image.ErrUnsupported), errors.Is(err, image.ErrDenied), errors.Is(err, image.ErrUntrusted):
	case errors.Is(err, image.ErrNotFound):
		hint = "is " + ref + " written as it should be?"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return &api.Error{Code: code, Message: err.Error(), Hint: hint}
}

// Trust reads the keys of the rules by which images are trusted.
func Trust(rules []config.Trust) ([]image.Rule, error) {
	out := make([]image.Rule, 0, len(rules))
	for i, r := range rules {
		rule := image.Rule{Images: r.Images}
		for _, path := range r.Keys {
			key, err := image.ReadKey(path)
			if err != nil {
				return nil, fmt.Errorf("trust[%d] of the configuration: %w", i, err)
			}
			rule.Keys = append(rule.Keys, key)
		}
		out = append(out, rule)
	}
	return out, nil
}
