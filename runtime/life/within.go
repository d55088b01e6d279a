package life

import (
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/spec"
)

// SameDisk says whether two paths of limits.io mean the same disk.
func SameDisk(a, b string) bool {
	one, err := cgroup.FindDisk(a)
	if err != nil {
		return false
	}
	other, err := cgroup.FindDisk(b)
	return err == nil && one == other
}

// Bounded is a spec with the limits that it has on this node: what is done with a site
// is done with that. Where the node says nothing of limits it is the spec itself.
func Bounded(cfg *config.Config, s *spec.Site) *spec.Site {
	if !cfg.Bounds() {
		return s
	}
	out := *s
	out.Limits = cfg.Effective(s.Limits, SameDisk)
	return &out
}
