package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Prune removes the images whose digest is not in keep, with the layers that no
// other image needs. Keep must name the images of all sites and of all replicas
// that exist: overlayfs does not hold its lower folders. An image that was
// resolved since the last Prune is spared once, so that one which a starting
// replica is about to mount does not vanish under it. Prune waits until nobody
// unpacks; Resolve waits for Prune only while it renames.
func (s *Store) Prune(ctx context.Context, keep []string) (Removed, error) {
	removed, err := s.removeAll(ctx, func() (map[v1.Hash]bool, error) {
		live := map[v1.Hash]bool{}
		for _, k := range keep {
			if h, err := v1.NewHash(k); err == nil {
				live[h] = true
			}
		}
		s.known.mu.Lock()
		defer s.known.mu.Unlock()
		for h := range s.known.recent {
			live[h] = true
		}
		clear(s.known.recent)
		return live, nil
	})
	if err != nil {
		return removed, fmt.Errorf("remove unused images: %w", err)
	}
	if removed != (Removed{}) {
		s.log.Info("removed unused images", "images", removed.Images, "layers", removed.Layers)
	}
	return removed, nil
}

// Removed counts what was removed.
type Removed struct{ Images, Layers int }

// removeAll removes the images that are not live, and the layers that no live one needs. live is asked when nobody
// unpacks any more.
func (s *Store) removeAll(ctx context.Context, live func() (map[v1.Hash]bool, error)) (removed Removed, err error) {
	lock, err := openLock(filepath.Join(s.dir, "lock"))
	if err != nil {
		return removed, err
	}
	defer lock.release()
	if err := lock.everything(ctx); err != nil {
		return removed, err
	}
	if removed, err = s.sweep(live); err != nil {
		return removed, err
	}
	entries, err := os.ReadDir(s.tmp)
	if err != nil {
		return removed, err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(s.tmp, e.Name())); err != nil {
			return removed, err
		}
	}
	return removed, nil
}

// sweep removes the records that are not live and moves the layers that no record names
// to tmp/.
func (s *Store) sweep(which func() (map[v1.Hash]bool, error)) (removed Removed, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	live, err := which()
	if err != nil {
		return removed, err
	}
	s.known.mu.Lock()
	for h := range s.known.records {
		if !live[h] {
			delete(s.known.records, h)
		}
	}
	s.known.mu.Unlock()

	used, images, err := s.sweepRecords(live)
	removed.Images = images
	if err != nil {
		return removed, err
	}
	if err := s.archives.prune(func(h v1.Hash) bool { return live[h] }); err != nil {
		return removed, err
	}
	// The records are gone for good before a layer of theirs is.
	if err := syncDir(s.images); err != nil {
		return removed, err
	}
	dirs, err := os.ReadDir(s.layers)
	if err != nil {
		return removed, err
	}
	for _, d := range dirs {
		if used[d.Name()] {
			continue
		}
		if err := os.Rename(filepath.Join(s.layers, d.Name()), filepath.Join(s.tmp, d.Name())); err != nil {
			return removed, err
		}
		removed.Layers++
	}
	return removed, nil
}

// sweepRecords removes the records that are not live and returns the layers of
// the others.
func (s *Store) sweepRecords(live map[v1.Hash]bool) (used map[string]bool, removed int, err error) {
	files, err := os.ReadDir(s.images)
	if err != nil {
		return nil, 0, err
	}
	used = map[string]bool{}
	for _, f := range files {
		h, err := v1.NewHash("sha256:" + strings.TrimSuffix(f.Name(), ".json"))
		if err == nil && live[h] {
			r, err := s.loadRecord(h)
			switch {
			case err == nil:
				for _, c := range r.Chain {
					used[layerName(c)] = true
				}
				continue
			case !errors.Is(err, ErrCorrupt):
				return nil, 0, err
			}
			// A damaged record protects no layer; the image is unpacked anew
			// when it is resolved.
		}
		if err := os.Remove(filepath.Join(s.images, f.Name())); err != nil {
			return nil, 0, err
		}
		removed++
	}
	return used, removed, nil
}
