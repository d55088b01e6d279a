package sites

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/runtime/volume"
)

// checkVolumes finds volumes that no wake could mount. Everything is looked at
// again at each wake, by the process that mounts them. A source that is missing
// is told only: its disk may come later. In the folder of specs what a tenant
// could have put there is told only, too, as an error keeps back all its sites.
func (t *Table) checkVolumes(sites []spec.Site, source string) error {
	bad := &api.Error{Code: api.CodeInvalid, Message: "volumes that cannot be used"}
	for i := range sites {
		s := &sites[i]
		for j, v := range s.Volumes {
			if v.Name != "" {
				continue
			}
			err := t.checkVolume(v)
			if err == nil {
				continue
			}
			mistake := errors.Is(err, volume.ErrOutside) || errors.Is(err, errOwnFolder)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, volume.ErrNotMounted) || source != "" && !mistake {
				t.host.Log.Warn("a site's volume cannot be used yet", "site", s.Name, "error", err)
				continue
			}
			d := api.Detail{Site: s.Name, Field: fmt.Sprintf("volumes[%d].source", j), Message: err.Error()}
			if errors.Is(err, volume.ErrOutside) {
				d.Allowed = "what lies below " + strings.Join(t.host.Cfg.VolumeRoots, ", ")
			}
			d.File, d.Line, d.Column = spec.Locate(source, s.Name, d.Field)
			bad.Details = append(bad.Details, d)
		}
	}
	if len(bad.Details) > 0 {
		return bad
	}
	return nil
}

// checkUserns finds what a site cannot see through a user namespace of its own,
// on this kernel and these file systems. What is not there yet is looked at when
// the site starts. In the folder of specs it is told only, as an error keeps back
// all its sites, and a file system may be mounted anew.
func (t *Table) checkUserns(sites []spec.Site, source string) error {
	if !slices.ContainsFunc(sites, func(s spec.Site) bool { return s.OwnUserns() }) {
		return nil
	}
	bad := &api.Error{Code: api.CodeInvalid, Message: "sites that cannot have a user namespace of their own"}
	mapping, probeErr := volume.ProbeMapping()
	if probeErr == nil {
		defer mapping.Userns.Close()
	}
	for i := range sites {
		s := &sites[i]
		if !s.OwnUserns() {
			continue
		}
		report := func(field string, err error) {
			if source != "" {
				t.host.Log.Warn("a site cannot have a user namespace of its own", "site", s.Name, "field", field, "error", err)
				return
			}
			bad.Details = append(bad.Details, api.Detail{
				Site: s.Name, Field: field, Message: err.Error(), Allowed: "userns: host, or another file system",
			})
		}
		if probeErr != nil {
			report("userns", probeErr)
			continue
		}
		if err := tryMapping(mapping, []string{"/"}, t.host.Cfg.StateDir); err != nil {
			report("userns", err)
		}
		if dir, isDir := strings.CutPrefix(s.Image, "dir:"); isDir {
			if err := tryMapping(mapping, t.host.Cfg.VolumeRoots, dir); err != nil {
				report("image", err)
			}
		}
		for j, v := range s.Volumes {
			if v.Name != "" { // in the state folder
				continue
			}
			if err := tryMapping(mapping, t.host.Cfg.VolumeRoots, v.Source); err != nil {
				report(fmt.Sprintf("volumes[%d].source", j), err)
			}
		}
	}
	if len(bad.Details) > 0 {
		return bad
	}
	return nil
}

// tryMapping says whether what lies at a path below one of the roots can be
// mapped. One that cannot be opened is other checks' to tell.
func tryMapping(mapping *volume.Mapping, roots []string, path string) error {
	f, err := volume.Open(roots, path)
	if err != nil {
		return nil
	}
	defer f.Close()
	return mapping.Try(f)
}

var errOwnFolder = errors.New("that is the node's own")

func (t *Table) checkVolume(v spec.Volume) error {
	for _, own := range []string{t.host.Cfg.StateDir, t.host.Cfg.RunDir} {
		if volume.Within(v.Source, own) || volume.Within(own, v.Source) {
			return fmt.Errorf("%s is, contains or lies in %s: %w", v.Source, own, errOwnFolder)
		}
	}
	f, err := volume.Open(t.host.Cfg.VolumeRoots, v.Source)
	if err != nil {
		return err
	}
	defer f.Close()
	if v.Mountpoint {
		if err := volume.CheckMounted(f); err != nil {
			return err
		}
	}
	return volume.CheckKind(f, v.Dev)
}

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
	t.host.Work.Go(func() {
		for _, c := range changes {
			img := images[c.record.Spec.Name].image
			if _, err := t.ByName(c.record.Spec.Name); err != nil || img == nil || c.action == api.ActionUnchanged {
				continue
			}
			if _, err := t.host.Mounts(t.host.Ctx, &c.record.Spec, img); err != nil && t.host.Ctx.Err() == nil {
				t.host.Log.Error("a site's volume is tried again at its wake", "site", c.record.Spec.Name, "error", err)
			}
		}
	})
}

// Volumes implements api.Backend.
func (t *Table) Volumes(_ context.Context, site string) ([]api.Volume, error) {
	infos, err := t.host.NamedVolumes.List(site)
	if err != nil {
		return nil, err
	}
	out := make([]api.Volume, 0, len(infos))
	for _, v := range infos {
		out = append(out, t.volume(v))
	}
	return out, nil
}

func (t *Table) volume(v volume.Info) api.Volume {
	out := api.Volume{Site: v.Site, Name: v.Name, Path: v.Path, Target: v.Target, Image: v.Image, Made: v.Made, Used: true}
	err := t.freeVolume(v.Site, v.Name)
	if err == nil {
		out.Used = false
	}
	return out
}

// freeVolume says why a volume cannot be removed; nil: it can.
func (t *Table) freeVolume(site, name string) error {
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
func (t *Table) Volume(ctx context.Context, site, name string) (api.Volume, error) {
	infos, err := t.host.NamedVolumes.List(site)
	if err != nil {
		return api.Volume{}, err
	}
	for _, v := range infos {
		if v.Name != name {
			continue
		}
		out := t.volume(v)
		out.Bytes, out.Files, err = t.host.NamedVolumes.Usage(ctx, site, name)
		return out, err
	}
	return api.Volume{}, noVolume(site, name)
}

func noVolume(site, name string) error {
	return &api.Error{
		Code: api.CodeNotFound, Message: fmt.Sprintf("volume %q of site %q: not found", name, site),
		Hint: "fcnode volume list shows the volumes of this node",
	}
}

// RemoveVolume implements api.Backend.
func (t *Table) RemoveVolume(_ context.Context, site, name string) error {
	t.apply.Lock() // no site of that name comes back meanwhile
	defer t.apply.Unlock()
	if err := t.freeVolume(site, name); err != nil {
		return &api.Error{Code: api.CodeBusy, Message: fmt.Sprintf("volume %q of site %q is in use: %v", name, site, err)}
	}
	err := t.host.NamedVolumes.Remove(site, name)
	if errors.Is(err, volume.ErrNone) {
		return noVolume(site, name)
	}
	return err
}

// purge removes all volumes of a site that is no more.
func (t *Table) purge(site string) error {
	t.host.NamedVolumes.Wait(site)
	infos, err := t.host.NamedVolumes.List(site)
	for _, v := range infos {
		err = errors.Join(err, t.host.NamedVolumes.Remove(site, v.Name))
	}
	return err
}
