package life

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/runtime/volume"
)

// Mounts are the volumes of a site on an image. Those that the node keeps, and
// that are new, are filled first.
func (h *Host) Mounts(ctx context.Context, s *spec.Site, img *image.Image) ([]container.Mount, error) {
	volumes, _, err := s.AllVolumes(img.Config.Volumes)
	if err != nil {
		return nil, err
	}
	out := make([]container.Mount, 0, len(volumes))
	for _, v := range volumes {
		m := container.Mount{Source: v.Source, Target: v.Target, ReadOnly: v.ReadOnly, Suid: v.Suid, Dev: v.Dev, NoExec: v.NoExec, Mountpoint: v.Mountpoint, Follow: v.Follow}
		if spec.IsNFS(v.Source) {
			if m.NFS, err = shareMount(h.Cfg.NFSRoots, v); err != nil {
				return nil, err
			}
		}
		if v.Name != "" {
			if _, err := h.Finder.ByName(s.Name); err != nil {
				return nil, err // deleted meanwhile, and its volumes may be purged
			}
			if m.Source, err = h.NamedVolumes.Ensure(ctx, s.Name, v.Name, volume.Origin{Target: v.Target, Image: img.Digest}, img.Lower); err != nil {
				return nil, err
			}
		}
		out = append(out, m)
	}
	out = append(out, secretMounts(h.Cfg.SecretRoots, s)...)
	for _, t := range s.InMemory(volumes) {
		m := container.Mount{Tmpfs: true, Target: t.Target, Size: int64(t.Size), NoExec: t.NoExec}
		// Before what lies in it, and after what it lies in: of the others outer ones come first.
		at := slices.IndexFunc(out, func(inner container.Mount) bool { return volume.Within(inner.Target, t.Target) })
		if at < 0 {
			at = len(out)
		}
		out = slices.Insert(out, at, m)
	}
	return out, nil
}

// namedVolumes are the names of those that the node keeps.
func namedVolumes(mounts []container.Mount, dir string) string {
	var names []string
	for _, m := range mounts {
		if volume.Within(m.Source, dir) {
			names = append(names, filepath.Base(filepath.Dir(m.Source)))
		}
	}
	return strings.Join(names, " ")
}

// FreeVolume says why a volume of the site cannot be removed now; nil: it can.
func FreeVolume(l *Live, s *spec.Site, declared []string, name string) error {
	all, _, err := s.AllVolumes(declared)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(v spec.Volume) bool { return v.Name == name }) {
		return fmt.Errorf("site %q has it; delete the site first, or take the volume out of its spec", l.Name)
	}
	if l.Activity == nil {
		return nil
	}
	for _, r := range l.Replicas {
		if r.Ctr == nil || slices.Contains(strings.Fields(r.Ctr.Meta()[metaVolumes]), name) {
			return fmt.Errorf("replica %s of an earlier spec of site %q may still use it; try again when it has ended", r.Name, l.Name)
		}
	}
	return nil
}
