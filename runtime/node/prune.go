package node

import (
	"context"
	"time"

	"github.com/fcnode/fcnode/runtime/sites"
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

// pruneImages deletes the unpacked images that no site was applied with and no
// replica runs from.
func (n *Node) pruneImages(ctx context.Context) error {
	_, err := sites.StoredImages{Host: n.Host, Store: n.images}.PruneImages(ctx)
	return err
}
