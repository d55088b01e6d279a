package sites

import (
	"context"
	"errors"
	"fmt"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/volume"
)

// noteVolumes says which volumes the node keeps for a site that nobody has
// written down, and which are there already.
func (c *change) noteVolumes(img *image.Image, kept *volume.Store) {
	s := &c.record.Spec
	if img == nil || c.action == api.ActionUnchanged || c.pinned {
		return
	}
	all, defaults, err := s.AllVolumes(img.Config.Volumes)
	if err != nil {
		return // told by planSite
	}
	for _, v := range defaults {
		c.notes = append(c.notes, fmt.Sprintf("%s is a VOLUME of the image: what the site writes there is kept in its volume %s", v.Target, v.Name))
	}
	for _, v := range all {
		if v.Name != "" && c.old == nil && kept.Has(s.Name, v.Name) {
			c.notes = append(c.notes, fmt.Sprintf("its volume %s is that of an earlier site of this name; to begin with the image's, delete the site with --purge first", v.Name))
		}
	}
}

// fillVolumes makes new volumes in the background, so that no visitor waits for
// it. A wake looks again.
func (t *Table) fillVolumes(changes []change, images map[string]found) {
	t.host.Go(func() {
		for _, c := range changes {
			img := images[c.record.Spec.Name].image
			e, err := t.ByName(c.record.Spec.Name)
			if err != nil || img == nil || c.action == api.ActionUnchanged {
				continue
			}
			t.host.Guard(e, func() {
				if _, err := t.host.Mounts(t.host.Ctx, &c.record.Spec, img); err != nil && t.host.Ctx.Err() == nil {
					t.host.Log.Error("a site's volume is tried again at its wake", "site", c.record.Spec.Name, "error", err)
				}
			})
		}
	})
}

// KeptVolumes answers the API about the volumes that the node keeps for the sites of
// a table, and for those that are no more.
type KeptVolumes struct{ table *Table }

// Kept are those of this table.
func (t *Table) Kept() KeptVolumes { return KeptVolumes{t} }

// Volumes implements api.Backend.
func (k KeptVolumes) Volumes(_ context.Context, site string) ([]api.Volume, error) {
	infos, err := k.table.host.NamedVolumes.List(site)
	if err != nil {
		return nil, err
	}
	out := make([]api.Volume, 0, len(infos))
	for _, v := range infos {
		out = append(out, k.view(v))
	}
	return out, nil
}

func (k KeptVolumes) view(v volume.Info) api.Volume {
	out := api.Volume{Site: v.Site, Name: v.Name, Path: v.Path, Target: v.Target, Image: v.Image, Made: v.Made, Used: true, Snapshots: k.snapshots(v.Site, v.Name)}
	err := k.free(v.Site, v.Name)
	if err == nil {
		out.Used = false
	}
	return out
}

// free says why a volume cannot be removed; nil: it can.
func (k KeptVolumes) free(site, name string) error {
	t := k.table
	if why := t.host.Quarantine.Sites()[site]; why != nil {
		return fmt.Errorf("site %q cannot be read, and may come back: %w", site, why)
	}
	e, err := t.ByName(site)
	if err != nil {
		return nil //nolint:nilerr // nobody's
	}
	rec, err := t.host.Store.Get(site)
	if err != nil {
		return err
	}
	var declared []string
	if rec.Image != "" {
		img, err := t.host.Images.Get(rec.Image)
		if err != nil {
			return fmt.Errorf("what its image declares is not known: %w", err)
		}
		declared = img.Config.Volumes
	}
	e.With(func(l *life.Live) { err = life.FreeVolume(l, &rec.Spec, declared, name) })
	return err
}

// Volume implements api.Backend.
func (k KeptVolumes) Volume(ctx context.Context, site, name string) (api.Volume, error) {
	infos, err := k.table.host.NamedVolumes.List(site)
	if err != nil {
		return api.Volume{}, err
	}
	for _, v := range infos {
		if v.Name != name {
			continue
		}
		out := k.view(v)
		out.Bytes, out.Files, err = k.table.host.NamedVolumes.Usage(ctx, site, name)
		return out, err
	}
	return api.Volume{}, NoVolume(site, name)
}

// NoVolume says that there is no such volume.
func NoVolume(site, name string) error {
	return &api.Error{
		Code: api.CodeNotFound, Message: fmt.Sprintf("volume %q of site %q: not found", name, site),
		Hint: "fcnode volume list shows the volumes of this node",
	}
}

// RemoveVolume implements api.Backend.
func (k KeptVolumes) RemoveVolume(_ context.Context, site, name string) error {
	k.table.apply.Lock() // no site of that name comes back meanwhile
	defer k.table.apply.Unlock()
	if err := k.free(site, name); err != nil {
		return &api.Error{Code: api.CodeBusy, Message: fmt.Sprintf("volume %q of site %q is in use: %v", name, site, err)}
	}
	err := k.table.host.NamedVolumes.Remove(site, name)
	if errors.Is(err, volume.ErrNone) {
		return NoVolume(site, name)
	}
	return err
}

// purge removes all volumes of a site that is no more.
func (k KeptVolumes) purge(site string) error {
	k.table.host.NamedVolumes.Wait(site)
	infos, err := k.table.host.NamedVolumes.List(site)
	for _, v := range infos {
		err = errors.Join(err, k.table.host.NamedVolumes.Remove(site, v.Name))
	}
	return err
}
