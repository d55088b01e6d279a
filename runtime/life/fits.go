package life

import (
	"errors"
	"runtime"

	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/guard"
	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/spec"
)

// programOf is what the spec and the image say of what a container executes.
func programOf(cfg config.Config, s *spec.Site, img *image.Image) container.Spec {
	foreign, _ := s.Foreign(runtime.GOARCH) // none is refused by the parser
	return container.Spec{
		Site: s.Name, Lower: img.Lower,
		Args: s.Args(img.Config.Entrypoint, img.Config.Cmd), Env: Environment(img.Config.Env, s),
		Cwd: FirstOf(s.Workdir, img.Config.WorkingDir, "/"), User: FirstOf(string(s.User), img.Config.User),
		StopSignal: FirstOf(s.Stop.Signal, img.Config.StopSignal), Userns: cfg.Privileges.OwnUserns(s), Architectures: foreign,
	}
}

// Misfits says, site by site, why none of its replicas could ever start from the
// image; none is no promise. err means that nobody could look into the image.
func Misfits(h *Host, img *image.Image, sites []*spec.Site) (misfits [][]error, err error) {
	list := make([]container.Candidate, 0, len(sites))
	for _, s := range sites {
		c := container.Candidate{Spec: programOf(h.Cfg, s, img)}
		volumes, _, err := s.AllVolumes(img.Config.Volumes)
		if err != nil {
			volumes = s.Volumes // whoever plans the site tells
		}
		c.Spec.Mounts = secretMounts(h.Cfg.SecretRoots, s)
		for _, v := range volumes {
			c.Spec.Mounts = append(c.Spec.Mounts, container.Mount{Target: v.Target})
			if v.Name != "" {
				c.Folders = append(c.Folders, v.Target)
			}
		}
		for _, t := range s.InMemory(volumes) {
			c.Spec.Mounts = append(c.Spec.Mounts, container.Mount{Target: t.Target})
		}
		list = append(list, c)
	}
	misfits, err = container.Misfits(img.Lower, h.Cfg.StateDir, list)
	if fault := (*guard.Fault)(nil); errors.As(err, &fault) {
		h.panicked(fault)
	}
	return misfits, err
}
