package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/fcnode/fcnode/runtime/disk"
)

// Kept is an image that the store has.
type Kept struct {
	Digest   string
	Ref      string // what it was unpacked by; empty: an older fcnode has unpacked it
	Unpacked time.Time
	Used     time.Time // when this daemon has looked it up last; zero: not since the last Prune
	Config   Config
	Layers   []KeptLayer // that can be seen, from the bottom up
}

// KeptLayer is a layer that the store has.
type KeptLayer struct {
	ID     string // digest of the chain of layers that ends with this one
	Bytes  uint64 // on disk
	Images int    // that have it
}

// Bytes are those of all layers, and those of layers that no other image has.
func (k *Kept) Bytes() (all, own uint64) {
	for _, l := range k.Layers {
		all += l.Bytes
		if l.Images == 1 {
			own += l.Bytes
		}
	}
	return all, own
}

// List gives the images that the store has, ordered by when they were unpacked. One whose record is
// damaged is left out: it is unpacked anew when it is looked up.
func (s *Store) List(ctx context.Context) ([]Kept, error) {
	records, err := s.all()
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	images := map[v1.Hash]int{}
	for _, r := range records {
		for _, c := range r.Chain {
			images[c]++
		}
	}
	var out []Kept
	for _, r := range records {
		k := Kept{Digest: r.Digest.String(), Ref: r.Ref, Config: r.Config.clone(), Layers: make([]KeptLayer, 0, len(r.Chain))}
		if st, err := os.Stat(s.recordFile(r.Digest)); err == nil {
			k.Unpacked = st.ModTime()
		}
		s.known.mu.Lock()
		k.Used = s.known.recent[r.Digest]
		s.known.mu.Unlock()
		for _, c := range r.Chain {
			bytes, err := s.sizeOf(ctx, c)
			if err != nil {
				return nil, fmt.Errorf("list images: %w", err)
			}
			k.Layers = append(k.Layers, KeptLayer{ID: c.String(), Bytes: bytes, Images: images[c]})
		}
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b Kept) int {
		if c := a.Unpacked.Compare(b.Unpacked); c != 0 {
			return c
		}
		return strings.Compare(a.Digest, b.Digest)
	})
	return out, nil
}

// all reads all records.
func (s *Store) all() ([]*record, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	files, err := os.ReadDir(s.images)
	if err != nil {
		return nil, err
	}
	var out []*record
	for _, f := range files {
		h, err := v1.NewHash("sha256:" + strings.TrimSuffix(f.Name(), ".json"))
		if err != nil {
			continue
		}
		switch r, err := s.loadRecord(h); {
		case err == nil:
			out = append(out, r)
		case errors.Is(err, ErrCorrupt), errors.Is(err, ErrNotFound):
		default:
			return nil, err
		}
	}
	return out, nil
}

// sizeOf measures a layer, once: it does not change. Of one that is removed meanwhile it is 0.
func (s *Store) sizeOf(ctx context.Context, chain v1.Hash) (uint64, error) {
	s.known.mu.Lock()
	size, known := s.known.sizes[chain]
	s.known.mu.Unlock()
	if known {
		return size, nil
	}
	use, err := disk.Measure(ctx, disk.Use{}, s.layerDir(chain))
	if err != nil {
		return 0, fmt.Errorf("measure layer %s: %w", chain, err)
	}
	s.known.mu.Lock()
	defer s.known.mu.Unlock()
	s.known.sizes[chain] = use.Bytes
	return use.Bytes, nil
}

// Remove removes an image, with the layers that no other has; ErrNotFound if the store does not have it.
// Whoever calls it knows that nobody uses it. Like Prune it waits until nobody unpacks.
func (s *Store) Remove(ctx context.Context, digest string) error {
	h, err := v1.NewHash(digest)
	if err != nil {
		return fmt.Errorf("remove image %q: %w: %w", digest, ErrReference, err)
	}
	if _, err := os.Lstat(s.recordFile(h)); err != nil {
		return fmt.Errorf("remove image %s: %w", digest, missing(err))
	}
	_, err = s.removeAll(ctx, func() (map[v1.Hash]bool, error) {
		files, err := os.ReadDir(s.images)
		if err != nil {
			return nil, err
		}
		live := map[v1.Hash]bool{}
		for _, f := range files {
			if other, err := v1.NewHash("sha256:" + strings.TrimSuffix(filepath.Base(f.Name()), ".json")); err == nil && other != h {
				live[other] = true
			}
		}
		return live, nil
	})
	if err != nil {
		return fmt.Errorf("remove image %s: %w", digest, err)
	}
	return nil
}
