package life

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/fcnode/fcnode/runtime/apparmor"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/spec"
)

// Excess is a field of a spec that asks for more than the node's configuration
// allows.
type Excess struct {
	Field   string
	Allowed string // where the configuration says so
	Err     error
}

// Excesses gives all of them.
func Excesses(cfg config.Config, s *spec.Site) []Excess {
	var all []Excess
	for _, i := range s.Capabilities.Beyond(cfg.Privileges.Capabilities) {
		all = append(all, Excess{
			Field: fmt.Sprintf("capabilities.add[%d]", i), Allowed: allowedCapabilities(cfg),
			Err: fmt.Errorf("this node gives no site %s; the operator can add it to privileges.capabilities of its configuration", s.Capabilities.Add[i]),
		})
	}
	if s.NewPrivileges() && !cfg.Privileges.NewPrivileges {
		all = append(all, Excess{
			Field: "noNewPrivileges", Allowed: "true",
			Err: errors.New("this node lets no site go without it; the operator can set privileges.newPrivileges in its configuration"),
		})
	}
	switch {
	case s.Userns == spec.UsernsHost && cfg.Privileges.Userns == config.UsernsRequired:
		all = append(all, Excess{
			Field: "userns", Allowed: "private",
			Err: errors.New("each site of this node has a user namespace of its own; the operator can set privileges.userns in its configuration to private, or to host"),
		})
	case s.Userns == "" && cfg.Privileges.OwnUserns(s): // else the spec's own check has found it
		or := ", or userns: host"
		if cfg.Privileges.Userns == config.UsernsRequired {
			or = ""
		}
		for _, n := range s.NotWithUserns() {
			all = append(all, Excess{
				Field: n.Field, Allowed: n.Allowed + or,
				Err: fmt.Errorf("%s with a user namespace of the site's own, which this node gives by default (privileges.userns)", n.What),
			})
		}
	}
	if s.AppArmor != "" && s.AppArmor != spec.AppArmorDefault && cfg.Privileges.AppArmor == config.AppArmorRequired {
		all = append(all, Excess{
			Field: "apparmor", Allowed: spec.AppArmorDefault,
			Err: errors.New("each site of this node has fcnode's own AppArmor profile; the operator can set privileges.apparmor in its configuration to default, or to unconfined"),
		})
	}
	if _, refused := s.Foreign(runtime.GOARCH); len(refused) > 0 {
		runs := strings.Join(spec.RunsOn(runtime.GOARCH), ", ")
		for _, i := range refused {
			all = append(all, Excess{
				Field: fmt.Sprintf("architectures[%d]", i), Allowed: runs,
				Err: fmt.Errorf("this node runs no programs of %s", s.Architectures[i]),
			})
		}
	}
	return all
}

func allowedCapabilities(cfg config.Config) string {
	if len(cfg.Privileges.Capabilities) == 0 {
		return "the default capabilities"
	}
	names := make([]string, len(cfg.Privileges.Capabilities))
	for i, c := range cfg.Privileges.Capabilities {
		names[i] = string(c)
	}
	return "the default capabilities, " + strings.Join(names, ", ")
}

// WithinMost is an error where a spec asks for more than the node's
// configuration allows, which may have changed since the spec was applied.
func WithinMost(cfg config.Config, s *spec.Site) error {
	var errs []error
	for _, e := range Excesses(cfg, s) {
		errs = append(errs, fmt.Errorf("%s: %w", e.Field, e.Err))
	}
	return errors.Join(errs...)
}

// NotMapped is a warning about files of a site's image that its user namespace
// sees as nobody's; "" where there are none.
func NotMapped(h *Host, s *spec.Site, img *image.Image) string {
	if img == nil || !h.Cfg.Privileges.OwnUserns(s) {
		return ""
	}
	owners, err := img.Owners()
	if err != nil {
		h.Log.Warn("cannot tell whether a user namespace has all owners of an image's files", "site", s.Name, "error", err)
		return ""
	}
	if owners.Files == 0 {
		return ""
	}
	remedy := "rebuild the image with lower numbers, or use userns: host"
	if h.Cfg.Privileges.Userns == config.UsernsRequired {
		remedy = "rebuild the image with lower numbers"
	}
	return fmt.Sprintf("image: %d of its files belong to users or groups from %d on (%s to %d), which the site's user namespace does not have: "+
		"it sees them as nobody's (65534), and its root can neither read what only they may read nor change it; %s",
		owners.Files, image.Mappable, owners.Path, owners.ID, remedy)
}

// Profile is the AppArmor profile of a site's processes; "" means none: as the
// spec and the node say, or because the kernel or the machine has none to give and
// nobody insists on it.
func Profile(node config.Privileges, has apparmor.Profiles, s *spec.Site) (string, error) {
	switch profile := node.Profile(s); profile {
	case spec.AppArmorUnconfined:
		return "", nil
	case spec.AppArmorDefault, "":
		if has.Own != "" || node.AppArmor != config.AppArmorRequired {
			return has.Own, nil
		}
		err := has.Lack
		if err == nil {
			err = errors.New("the kernel has no AppArmor, or it is switched off (apparmor=0)")
		}
		return "", fmt.Errorf("this node runs no site without fcnode's AppArmor profile (privileges.apparmor: required): %w", err)
	default:
		if err := apparmor.Loaded(profile); err != nil {
			return "", fmt.Errorf("apparmor: %w", err)
		}
		return profile, nil
	}
}
