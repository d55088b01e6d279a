package image

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/fcnode/fcnode/runtime/spec"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// maxIndexDepth bounds how deep indexes may nest: layout index, multi-platform
// index, and one more.
const maxIndexDepth = 3

// runs says whether programs of an architecture run here, if the site's spec allows
// them: the machine's own, and its 32-bit one.
func runs(arch string) bool { return slices.Contains(spec.RunsOn(runtime.GOARCH), arch) }

func hostPlatform() string { return "linux/" + runtime.GOARCH }

func platformName(p *v1.Platform) string {
	if p == nil {
		return "an unnamed platform"
	}
	return strings.TrimSuffix(strings.Join([]string{p.OS, p.Architecture, p.Variant}, "/"), "/")
}

// pickPlatform chooses the one image manifest for this machine among
// candidates, reading nested indexes through index. A manifest without a
// platform is taken at its word by the check of its config. Of several variants
// of this architecture the plain one wins, else the first; after those come images
// of 32-bit programs.
func pickPlatform(candidates []v1.Descriptor, index func(v1.Hash) ([]v1.Descriptor, error)) (v1.Descriptor, error) {
	flat, err := flatten(candidates, index, maxIndexDepth)
	if err != nil {
		return v1.Descriptor{}, err
	}
	var fit, unnamed, narrower []v1.Descriptor
	var others []string
	for _, d := range flat {
		switch p := d.Platform; {
		case p == nil || p.OS == "" && p.Architecture == "":
			unnamed = append(unnamed, d)
		case p.OS == "linux" && p.Architecture == runtime.GOARCH && p.Variant == "":
			return d, nil
		case p.OS == "linux" && p.Architecture == runtime.GOARCH:
			fit = append(fit, d)
		case p.OS == "linux" && runs(p.Architecture):
			narrower = append(narrower, d)
		case p.OS == "unknown": // attestations of buildkit, no images
		default:
			others = append(others, platformName(p))
		}
	}
	switch {
	case len(fit) > 0:
		return fit[0], nil
	case len(unnamed) == 1:
		return unnamed[0], nil
	case len(unnamed) > 1:
		return v1.Descriptor{}, fmt.Errorf("%w: it holds %d images that do not name their platform, so none can be chosen", ErrUnsupported, len(unnamed))
	case len(narrower) > 0:
		return narrower[0], nil
	case len(others) > 0:
		return v1.Descriptor{}, fmt.Errorf("%w: it is for %s, this machine is %s", ErrUnsupported, strings.Join(others, ", "), hostPlatform())
	}
	return v1.Descriptor{}, fmt.Errorf("%w: the index lists no image", ErrNotFound)
}

// flatten replaces indexes by the manifests that they list.
func flatten(descs []v1.Descriptor, index func(v1.Hash) ([]v1.Descriptor, error), depth int) ([]v1.Descriptor, error) {
	var flat []v1.Descriptor
	for _, d := range descs {
		switch d.MediaType {
		case types.OCIManifestSchema1, types.DockerManifestSchema2:
			flat = append(flat, d)
		case types.OCIImageIndex, types.DockerManifestList:
			if depth == 0 {
				return nil, fmt.Errorf("%w: indexes nest deeper than %d", ErrUnsupported, maxIndexDepth)
			}
			inner, err := index(d.Digest)
			if err != nil {
				return nil, err
			}
			more, err := flatten(inner, index, depth-1)
			if err != nil {
				return nil, err
			}
			flat = append(flat, more...)
		default:
			return nil, fmt.Errorf("%w: %s has media type %q, not an image manifest or index", ErrUnsupported, d.Digest, d.MediaType)
		}
	}
	return flat, nil
}
