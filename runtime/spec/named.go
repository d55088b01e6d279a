package spec

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// What imageVolumes may say.
const (
	imageVolumesKeep   = "keep" // the default, which is empty once it is read
	ImageVolumesIgnore = "ignore"
)

// plainTarget is a target of which the name of a volume can be read back.
var plainTarget = regexp.MustCompile(`^(/[a-z0-9]+)+$`)

// AllVolumes are the volumes of the site on an image that declares some: before
// its own stand those for what the image declares and none of them covers, which
// are new in defaults.
func (s *Site) AllVolumes(declared []string) (all, defaults []Volume, err error) {
	if s.ImageVolumes == ImageVolumesIgnore {
		return s.Volumes, nil, nil
	}
	targets := make([]string, 0, len(declared))
	for _, d := range declared {
		targets = append(targets, path.Clean("/"+d))
	}
	slices.Sort(targets) // outer ones first
	for _, target := range targets {
		if target == "/" || ofTheContainer(target) || covered(target, s.Volumes) || covered(target, defaults) || s.inTmpfs(target) {
			continue
		}
		if !pathForm.MatchString(target) {
			return nil, nil, fmt.Errorf("the image declares a volume at %q, which is no path: say imageVolumes: ignore", target)
		}
		defaults = append(defaults, Volume{Name: s.volumeName(target), Target: target})
	}
	all = append(slices.Clone(defaults), s.Volumes...)
	if len(defaults) > 0 && len(all) > maxVolumes {
		return nil, nil, fmt.Errorf("with the %d volumes that the image declares the site has %d, more than %d: say imageVolumes: ignore", len(defaults), len(all), maxVolumes)
	}
	return all, defaults, nil
}

// inTmpfs says whether what lies at a target is in memory, because the spec says so.
func (s *Site) inTmpfs(target string) bool {
	return slices.ContainsFunc(s.Tmpfs, func(t Tmpfs) bool { return t.Target == target || strings.HasPrefix(target, t.Target+"/") })
}

// covered says whether what lies at a target lies in one of the volumes.
func covered(target string, volumes []Volume) bool {
	return slices.ContainsFunc(volumes, func(v Volume) bool {
		return v.Target == target || strings.HasPrefix(target, v.Target+"/")
	})
}

// ofTheContainer says whether a path belongs to the container's own mounts.
func ofTheContainer(target string) bool {
	for _, system := range []string{"/proc", "/sys", "/dev"} {
		if target == system || strings.HasPrefix(target, system+"/") {
			return true
		}
	}
	return false
}

// volumeName is that of the volume for a target, always the same: var-www-html.
func (s *Site) volumeName(target string) string {
	name := strings.ReplaceAll(strings.TrimPrefix(target, "/"), "/", "-")
	taken := slices.ContainsFunc(s.Volumes, func(v Volume) bool { return v.Name == name })
	if plainTarget.MatchString(target) && len(name) <= 63 && !taken {
		return name
	}
	sum := sha256.Sum256([]byte(target))
	return "image-" + hex.EncodeToString(sum[:8])
}
