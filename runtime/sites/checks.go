package sites

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/apparmor"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/policy"
	"github.com/fcnode/fcnode/runtime/secret"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/runtime/volume"
)

// checks are of specs that are applied, against what this node gives and has:
// its configuration, its kernel and its file systems. They know no other site.
type checks struct {
	cfg config.Config
	log *slog.Logger
}

// privileges refuses what the node's configuration allows to no site. Each
// start looks again.
func (c checks) privileges(sites []spec.Site, source string) error {
	var bad []api.Detail
	for i := range sites {
		for _, e := range life.Excesses(c.cfg, &sites[i]) {
			bad = append(bad, api.Detail{Site: sites[i].Name, Field: e.Field, Message: e.Err.Error(), Allowed: e.Allowed})
		}
	}
	return refused("privileges that this node does not give", source, bad)
}

// limits refuses what is above the node's maxima. Sites that were applied before
// these were lowered are held to them at each start.
func (c checks) limits(sites []spec.Site, source string) error {
	var bad []api.Detail
	for i := range sites {
		for _, e := range c.cfg.Exceeding(sites[i].Limits, life.SameDisk) {
			bad = append(bad, api.Detail{Site: sites[i].Name, Field: e.Field, Message: e.Message, Allowed: e.Allowed})
		}
	}
	return refused("limits that this node does not give", source, bad)
}

// disk refuses limits.disk that a site's log alone could fill.
func (c checks) disk(sites []spec.Site, source string) error {
	least := c.cfg.LeastDisk()
	var bad []api.Detail
	for i := range sites {
		if b := sites[i].Limits.Disk.Bytes; b != 0 && b < least {
			bad = append(bad, api.Detail{
				Site: sites[i].Name, Field: "limits.disk.bytes",
				Message: fmt.Sprintf("%s is too small beside the site's log, which counts and may take %s (log.maxSize times log.files of the node's configuration)", b, least/2),
				Allowed: "sizes from " + least.String(),
			})
		}
	}
	return refused("limits that this node cannot keep", source, bad)
}

// volumes finds volumes that no wake could mount. Everything is looked at
// again at each wake, by the process that mounts them. A source that is missing
// is told only: its disk may come later. In the folder of specs what a tenant
// could have put there is told only, too, as an error keeps back all its sites.
func (c checks) volumes(sites []spec.Site, from origin) error {
	var bad []api.Detail
	for i := range sites {
		s := &sites[i]
		for j, v := range s.Volumes {
			if v.Name != "" {
				continue
			}
			err := c.volume(v)
			if err == nil {
				continue
			}
			mistake := errors.Is(err, volume.ErrOutside) || errors.Is(err, errOwnFolder) || errors.Is(err, spec.ErrNoShare)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, volume.ErrNotMounted) || from.lenient() && !mistake {
				c.log.Warn("a site's volume cannot be used yet", "site", s.Name, "error", err)
				continue
			}
			d := api.Detail{Site: s.Name, Field: fmt.Sprintf("volumes[%d].source", j), Message: err.Error()}
			if errors.Is(err, volume.ErrOutside) {
				d.Allowed = "what lies below " + strings.Join(c.cfg.VolumeRoots, ", ")
			}
			if errors.Is(err, spec.ErrNoShare) && len(c.cfg.NFSRoots) > 0 {
				d.Allowed = "what lies below " + strings.Join(c.cfg.NFSRoots, ", ")
			}
			bad = append(bad, d)
		}
	}
	return refused("volumes that cannot be used", from.source, bad)
}

// secrets finds those that no start could read. Each start looks again. In the
// folder of specs it is told only, as an error keeps back all its sites.
func (c checks) secrets(sites []spec.Site, from origin) error {
	var bad []api.Detail
	for i := range sites {
		s := &sites[i]
		for j, v := range s.Secrets {
			got, err := secret.Read(c.cfg.SecretRoots, v.From(c.cfg.SecretRoots))
			if err == nil && v.Env != "" {
				_, err = got.Variable(v.Env)
			}
			if err == nil {
				continue
			}
			if from.lenient() {
				c.log.Warn("a site's secret cannot be used", "site", s.Name, "error", err)
				continue
			}
			d := api.Detail{Site: s.Name, Field: fmt.Sprintf("secrets[%d]", j), Message: err.Error()}
			if errors.Is(err, secret.ErrOutside) {
				d.Allowed = "what lies below " + strings.Join(c.cfg.SecretRoots, ", ")
			}
			bad = append(bad, d)
		}
	}
	return refused("secrets that cannot be used", from.source, bad)
}

// userns finds what a site cannot see through a user namespace of its own,
// on this kernel and these file systems. What is not there yet is looked at when
// the site starts. In the folder of specs it is told only, as an error keeps back
// all its sites, and a file system may be mounted anew.
func (c checks) userns(sites []spec.Site, from origin) error {
	if !slices.ContainsFunc(sites, func(s spec.Site) bool { return c.cfg.Privileges.OwnUserns(&s) }) {
		return nil
	}
	allowed := "userns: host, or another file system"
	if c.cfg.Privileges.Userns == config.UsernsRequired {
		allowed = "another file system, as this node requires user namespaces (privileges.userns)"
	}
	var bad []api.Detail
	mapping, probeErr := volume.ProbeMapping()
	if probeErr == nil {
		defer mapping.Userns.Close()
	}
	for i := range sites {
		s := &sites[i]
		if !c.cfg.Privileges.OwnUserns(s) {
			continue
		}
		report := func(field string, err error) {
			if from.lenient() {
				c.log.Warn("a site cannot have a user namespace of its own", "site", s.Name, "field", field, "error", err)
				return
			}
			bad = append(bad, api.Detail{Site: s.Name, Field: field, Message: err.Error(), Allowed: allowed})
		}
		if probeErr != nil {
			report("userns", probeErr)
			continue
		}
		if err := tryMapping(mapping, []string{"/"}, c.cfg.StateDir, false); err != nil {
			report("userns", err)
		}
		if dir, isDir := strings.CutPrefix(s.Image, "dir:"); isDir {
			if err := tryMapping(mapping, c.cfg.VolumeRoots, dir, false); err != nil {
				report("image", err)
			}
		}
		for j, v := range s.Volumes {
			if v.Name != "" { // in the state folder
				continue
			}
			if spec.IsNFS(v.Source) {
				report(fmt.Sprintf("volumes[%d].source", j), errNFSUserns)
				continue
			}
			if err := tryMapping(mapping, c.cfg.VolumeRoots, v.Source, v.Follow); err != nil {
				report(fmt.Sprintf("volumes[%d].source", j), err)
			}
		}
	}
	return refused("sites that cannot have a user namespace of their own", from.source, bad)
}

// appArmor finds profiles that no start could give. In the folder of specs it is
// told only, as an error keeps back all its sites, and a profile may be loaded later.
func (c checks) appArmor(sites []spec.Site, from origin, has apparmor.Profiles) error {
	var bad []api.Detail
	for i := range sites {
		s := &sites[i]
		if s.AppArmor == "" || s.AppArmor == spec.AppArmorDefault {
			continue // the node's own matter, see check
		}
		_, err := life.Profile(c.cfg.Privileges, has, s)
		if err == nil {
			continue
		}
		if from.lenient() {
			c.log.Warn("a site's AppArmor profile cannot be had", "site", s.Name, "error", err)
			continue
		}
		bad = append(bad, api.Detail{Site: s.Name, Field: "apparmor", Message: err.Error(), Allowed: spec.AppArmorDefault + ", " + spec.AppArmorUnconfined + ", or a profile that is loaded"})
	}
	return refused("AppArmor profiles that this node does not have", from.source, bad)
}

// classes finds sites whose class the configuration does not have, and those that
// cannot be held to what it says of each site. In the folder of specs it is told only: such a
// site has the standard class, or is not held to that.
func (c checks) classes(sites []spec.Site, from origin, h *life.Host) error {
	all := policy.NewClasses(c.cfg.Classes)
	var bad []api.Detail
	for i := range sites {
		s := &sites[i]
		if s.Class == "" {
			continue
		}
		d := api.Detail{Site: s.Name, Field: "class"}
		if err := all.Unknown(s); err != nil {
			d.Message, d.Allowed = err.Error(), strings.Join(all.Names(), ", ")
		} else if err := admits(h, s, all.Of(s)); err != nil {
			d.Message, d.Allowed = err.Error(), "another class, or idle: never without a class"
		}
		switch {
		case d.Message == "":
		case from.lenient():
			c.log.Warn("a site does not have the service level that it asks for", "site", s.Name, "error", d.Message)
		default:
			bad = append(bad, d)
		}
	}
	return refused("service levels that this node does not give", from.source, bad)
}

// admits says why a site cannot be held to its class's bound for each site, by what is
// known of its visits.
func admits(h *life.Host, s *spec.Site, l policy.Level) error {
	if l.Each == 0 {
		return nil
	}
	x, err := h.Experiences.Load(s.Name)
	if err != nil {
		return nil //nolint:nilerr // nothing is known of it then, and the daemon moves the file aside
	}
	return l.Admit(h.Input(s, x))
}

// refused is the error of specs for which details tell against them, each with its
// place in the source; nil: nothing does.
func refused(message, source string, details []api.Detail) error {
	if len(details) == 0 {
		return nil
	}
	for i := range details {
		d := &details[i]
		d.File, d.Line, d.Column = spec.Locate(source, d.Site, d.Field)
	}
	return &api.Error{Code: api.CodeInvalid, Message: message, Details: details}
}

// tryMapping says whether what lies at a path below one of the roots can be
// mapped. One that cannot be opened is other checks' to tell.
func tryMapping(mapping *volume.Mapping, roots []string, path string, follow bool) error {
	f, err := volume.Source{Path: path, Follow: follow}.Open(roots)
	if err != nil {
		return nil
	}
	defer f.Close()
	return mapping.Try(f)
}

// errNFSUserns needs no look at the server: no kernel up to Linux 7.0 has
// FS_ALLOW_IDMAP for NFS.
var errNFSUserns = errors.New("the kernel cannot mount NFS with mapped owners, as userns: private needs")

var errOwnFolder = errors.New("that is the node's own")

func (c checks) volume(v spec.Volume) error {
	if spec.IsNFS(v.Source) { // no server is asked: it may come later
		share, err := spec.ParseShare(v.Source)
		if err == nil {
			_, _, err = share.In(c.cfg.NFSRoots)
		}
		return err
	}
	for _, own := range []string{c.cfg.StateDir, c.cfg.RunDir} {
		if volume.Within(v.Source, own) || volume.Within(own, v.Source) {
			return fmt.Errorf("%s is, contains or lies in %s: %w", v.Source, own, errOwnFolder)
		}
	}
	f, err := volume.Source{Path: v.Source, Follow: v.Follow}.Open(c.cfg.VolumeRoots)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := volume.KeepApart(f, []string{c.cfg.StateDir, c.cfg.RunDir}); err != nil {
		return err
	}
	if v.Mountpoint {
		if err := volume.CheckMounted(f); err != nil {
			return err
		}
	}
	return volume.CheckKind(f, v.Dev)
}
