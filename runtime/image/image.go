package image

import (
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Image is an unpacked image, ready to be mounted.
type Image struct {
	// Ref is the reference that was resolved.
	Ref string
	// Digest names the content: the manifest's digest for a layout, the image
	// id (digest of the config) for an archive. For a dir image it only tells
	// one folder from another: it is made of path, inode and mtime, because the
	// content of a folder can change.
	Digest string
	// Lower are the absolute folders for overlayfs's lowerdir, the top one
	// first. None has a character that would need escaping, and joined by ":"
	// they fit into mount(2)'s page of options.
	Lower []string
	// Config is what the image says about how to run it; empty for a dir image.
	Config Config

	owners *Owners // nil: not recorded
}

// Config is the part of an image's config that concerns running it, as the
// image gives it: nothing is defaulted.
type Config struct {
	Entrypoint   []string `json:"entrypoint,omitempty"`
	Cmd          []string `json:"cmd,omitempty"`
	Env          []string `json:"env,omitempty"`
	WorkingDir   string   `json:"workingDir,omitempty"`
	User         string   `json:"user,omitempty"` // "", "uid", "name", each with ":group"
	StopSignal   string   `json:"stopSignal,omitempty"`
	ExposedPorts []string `json:"exposedPorts,omitempty"` // "80/tcp", sorted
	Volumes      []string `json:"volumes,omitempty"`      // paths, sorted
	Architecture string   `json:"architecture,omitempty"` // of its programs, if that is not the machine's own
}

// clone makes a copy that shares no memory with c.
func (c Config) clone() Config {
	c.Entrypoint = slices.Clone(c.Entrypoint)
	c.Cmd = slices.Clone(c.Cmd)
	c.Env = slices.Clone(c.Env)
	c.ExposedPorts = slices.Clone(c.ExposedPorts)
	c.Volumes = slices.Clone(c.Volumes)
	return c
}

// parseConfig reads an image config: the part for running it and the diff ids
// of its layers, from the bottom up. An image of another platform is
// ErrUnsupported.
func parseConfig(raw []byte) (Config, []v1.Hash, error) {
	var f v1.ConfigFile
	if err := json.Unmarshal(raw, &f); err != nil {
		return Config{}, nil, fmt.Errorf("%w: its config: %w", ErrCorrupt, err)
	}
	// Builders by hand leave the platform out; nothing contradicts running it
	// here.
	other := f.Architecture
	if other == runtime.GOARCH {
		other = ""
	}
	if (f.OS != "" && f.OS != "linux") || (other != "" && !runs(other)) {
		return Config{}, nil, fmt.Errorf("%w: it is for %s, this machine is %s", ErrUnsupported,
			platformName(&v1.Platform{OS: f.OS, Architecture: f.Architecture, Variant: f.Variant}), hostPlatform())
	}
	if len(f.RootFS.DiffIDs) == 0 {
		return Config{}, nil, fmt.Errorf("%w: it has no layers", ErrUnsupported)
	}
	for _, d := range f.RootFS.DiffIDs {
		if d.Algorithm != "sha256" {
			return Config{}, nil, fmt.Errorf("%w: diff id %q is not a sha256 digest", ErrUnsupported, d)
		}
	}
	return Config{
		Entrypoint:   f.Config.Entrypoint,
		Cmd:          f.Config.Cmd,
		Env:          f.Config.Env,
		WorkingDir:   f.Config.WorkingDir,
		User:         f.Config.User,
		StopSignal:   f.Config.StopSignal,
		ExposedPorts: slices.Sorted(maps.Keys(f.Config.ExposedPorts)),
		Volumes:      slices.Sorted(maps.Keys(f.Config.Volumes)),
		Architecture: other,
	}, f.RootFS.DiffIDs, nil
}
