package sites

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/life"
)

// Pulls answers the API about images that are pulled before a site names them.
type Pulls struct{ Images life.Images }

// Pull implements api.Backend.
func (p Pulls) Pull(ctx context.Context, ref string) iter.Seq2[api.Pull, error] {
	return func(yield func(api.Pull, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		gone := false
		tell := func(at image.Progress) {
			if !gone && !yield(api.Pull{Layers: at.Layers, Of: at.Of, Bytes: at.Bytes, Size: at.Size}, nil) {
				gone = true
				cancel()
			}
		}
		img, err := p.Images.Resolve(image.WithProgress(ctx, tell), ref)
		switch {
		case gone:
		case err != nil:
			yield(api.Pull{}, pullError(ref, err))
		default:
			yield(api.Pull{Image: &api.Image{
				Digest: img.Digest, Ports: img.Config.ExposedPorts, Volumes: img.Config.Volumes, Architecture: img.Config.Architecture,
			}}, nil)
		}
	}
}

// pullError says whose fault it is that an image cannot be had.
func pullError(ref string, err error) error {
	code, hint := api.CodeInvalid, ""
	switch {
	case errors.Is(err, image.ErrNoSpace), errors.Is(err, image.ErrClosed):
		code = api.CodeUnavailable
	case errors.Is(err, image.ErrReference), errors.Is(err, image.ErrUnsupported), errors.Is(err, image.ErrDenied), errors.Is(err, image.ErrUntrusted):
	case errors.Is(err, image.ErrNotFound):
		hint = "is " + ref + " written as it should be?"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return &api.Error{Code: code, Message: err.Error(), Hint: hint}
}

// Trust reads the keys of the rules by which images are trusted.
func Trust(rules []config.Trust) ([]image.Rule, error) {
	out := make([]image.Rule, 0, len(rules))
	for i, r := range rules {
		rule := image.Rule{Images: r.Images}
		for _, path := range r.Keys {
			key, err := image.ReadKey(path)
			if err != nil {
				return nil, fmt.Errorf("trust[%d] of the configuration: %w", i, err)
			}
			rule.Keys = append(rule.Keys, key)
		}
		out = append(out, rule)
	}
	return out, nil
}
