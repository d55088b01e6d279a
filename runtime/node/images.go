package node

import (
	"context"
	"path/filepath"
	"time"

	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/sites"
)

// pruneEvery is how often images that no site names are deleted. The store
// spares once what was used since the last time, so an image goes after one to
// two of these.
const pruneEvery = 12 * time.Hour

// openImages opens their store; one key that cannot be read keeps the daemon from starting.
func (n *Node) openImages() error {
	trust, err := sites.Trust(n.Cfg.Trust)
	if err != nil {
		return err
	}
	n.images, err = image.Open(filepath.Join(n.Cfg.StateDir, "images"), n.Log,
		image.Reserve(n.Cfg.StateDir, n.Cfg.RunDir), image.Roots(n.Cfg.VolumeRoots...),
		image.FromRegistries(image.Registries(n.Cfg.Registries)), image.Trust(trust...), image.Grown(n.grow),
		image.Within(image.Limits{Bytes: int64(n.Cfg.Images.Bytes), Entries: n.Cfg.Images.Entries, Time: time.Duration(n.Cfg.Images.Time)}))
	return err
}

// keepImages deletes images that no site names, now and then, and when they take too much.
func (n *Node) keepImages(ctx context.Context) {
	images := sites.StoredImages{Host: n.Host, Store: n.images}
	n.Go(func() {
		n.every(ctx, pruneEvery, func() {
			n.SweepImages()
			if _, err := images.PruneImages(ctx); err != nil {
				n.Log.Warn("unused images were not deleted; the next try is in "+pruneEvery.String(), "error", err)
			}
		})
	})
	n.Go(func() { images.KeepWithin(ctx, uint64(n.Cfg.Images.Disk), n.grown) })
}

// grow has somebody look whether images take too much.
func (n *Node) grow() {
	select {
	case n.grown <- struct{}{}:
	default: // a look is due already
	}
}
