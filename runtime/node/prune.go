package node

import (
	"context"
	"fmt"
	"time"

	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/store"
)

// pruneEvery is how often images that no site names are deleted. The store
// spares once what was used since the last time, so an image goes after one to
// two of these.
const pruneEvery = 12 * time.Hour

func (n *Node) prune(ctx context.Context) {
	n.SweepImages()
	if err := n.pruneImages(ctx); err != nil {
		n.Log.Warn("unused images were not deleted; the next try is in "+pruneEvery.String(), "error", err)
	}
}

// pruneImages deletes the unpacked images that no site names and no replica
// runs from. If any site's image cannot be resolved nothing is deleted: it
// may be one whose source is only away for a while.
func (n *Node) pruneImages(ctx context.Context) error {
	refs := map[string]string{} // to a site that names it
	err := n.Store.All(func(s *store.Site) error {
		refs[s.Spec.Image] = s.Spec.Name
		return nil
	})
	if err != nil {
		return err
	}
	var keep []string
	for ref, name := range refs {
		img, err := n.images.Resolve(ctx, ref)
		if err != nil {
			return fmt.Errorf("image of site %s: %w", name, err)
		}
		keep = append(keep, img.Digest)
	}
	for _, e := range n.Awake.All() {
		e.With(func(l *life.Live) {
			if l.Activity != nil {
				for _, r := range l.Replicas {
					keep = append(keep, r.Image)
				}
			}
		})
	}
	return n.images.Prune(ctx, keep)
}
