package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/singleflight"
	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/guard"
)

// unpackOnce unpacks an image, together with everybody else who wants it now.
func (s *Store) unpackOnce(ctx context.Context, ref Ref, d v1.Hash, src source) (*record, error) {
	s.mu.RLock()
	if s.closed {
		s.mu.RUnlock()
		return nil, ErrClosed
	}
	s.running.Add(1)
	s.mu.RUnlock()
	done := s.flights.DoChan(d.String(), func() (any, error) {
		var r *record
		var err error
		if fault := guard.Run(func() { r, err = s.unpack(s.ctx, ref, d, src) }); fault != nil {
			s.log.Error("unpacking an image panicked", "digest", d.String(), "error", fault, "stack", string(fault.Stack))
			return nil, fault
		}
		return r, err
	})
	finished := make(chan singleflight.Result, 1)
	go func() {
		defer s.running.Done()
		finished <- <-done
	}()
	tick, stop := s.ticks(ctx)
	defer stop()
	for {
		select {
		case r := <-finished:
			if r.Err != nil {
				return nil, r.Err
			}
			return r.Val.(*record), nil
		case <-tick:
			s.tell(ctx, d)
		case <-ctx.Done():
			return nil, fmt.Errorf("wait until it is unpacked: %w", context.Cause(ctx))
		}
	}
}

// unpacking is one image on its way into the store.
type unpacking struct {
	*Store
	lock    *fileLock
	dir     string // below tmp/
	pending []pendingLayer
	totals  totals
	meter   *meter
}

type pendingLayer struct {
	from  string // unpacked below tmp/
	chain v1.Hash
}

// unpack makes what is missing of image d. It fails as a whole: nothing of it
// stays behind.
func (s *Store) unpack(ctx context.Context, ref Ref, d v1.Hash, src source) (r *record, err error) {
	start := time.Now()
	ctx, cancel := s.limits.within(ctx)
	defer cancel()
	c, err := src.contents(ctx, d)
	if err != nil {
		return nil, err
	}
	chain, err := chainIDs(c.layers)
	if err != nil {
		return nil, err
	}
	if err := s.checkLength(chain); err != nil {
		return nil, err
	}
	lock, err := openLock(filepath.Join(s.dir, "lock"))
	if err != nil {
		return nil, err
	}
	defer lock.release()
	if err := lock.unpacking(ctx); err != nil {
		return nil, err
	}
	u := &unpacking{Store: s, lock: lock, totals: totals{Limits: s.limits}, meter: s.measure(d)}
	defer s.measured(d)
	if u.dir, err = os.MkdirTemp(s.tmp, d.Hex[:12]+"-"); err != nil {
		return nil, fmt.Errorf("make a folder to unpack into: %w", classify(err))
	}
	defer func() { err = errors.Join(err, os.RemoveAll(u.dir)) }()

	size, visible, below, err := u.layersOf(ctx, c.layers, chain)
	if err != nil {
		return nil, err
	}
	owners, err := findOwners(below)
	if err != nil {
		return nil, err
	}
	r = &record{Digest: d, Ref: ref.String(), Chain: chain[visible:], Config: c.config, Owners: &owners}
	if err := u.publish(r); err != nil {
		return nil, err
	}
	s.remember(r) // before a Prune that waits for the lock looks
	s.grown()
	s.log.Info("image unpacked", "digest", d.String(), "layers", len(chain), "new", len(u.pending),
		"bytes", size, "took", time.Since(start))
	return r, nil
}

// layersOf unpacks the layers that are not in the store, from the bottom up. It
// returns how many bytes of file content that were, the index of the lowest
// layer that can be seen (one with an opaque root hides those below, but
// overlayfs ignores that mark on a root), and where those that can be seen are,
// the top one first.
func (u *unpacking) layersOf(ctx context.Context, layers []layerBlob, chain []v1.Hash) (size int64, visible int, below []string, err error) {
	if err := u.expect(layers, chain); err != nil {
		return 0, 0, nil, err
	}
	for i, l := range layers {
		dir, exists, err := u.claim(ctx, chain[i])
		if err != nil {
			return 0, 0, nil, err
		}
		if !exists {
			u.log.Debug("unpacking a layer", "diffID", l.diffID.String(), "layer", i+1, "of", len(layers))
			dir = filepath.Join(u.dir, layerName(chain[i]))
			n, err := u.layer(ctx, dir, below, l)
			if err != nil {
				return 0, 0, nil, fmt.Errorf("layer %d of %d (%s): %w", i+1, len(layers), l.name(), err)
			}
			size += n
			u.meter.layers.Add(1)
			u.pending = append(u.pending, pendingLayer{from: dir, chain: chain[i]})
		}
		opaque, err := isOpaque(dir)
		if err != nil {
			return 0, 0, nil, err
		}
		if opaque {
			visible = i
		}
		below = slices.Insert(below, 0, dir)
	}
	return size, visible, below[:len(layers)-visible], nil
}

// layer unpacks one layer into dir, which it makes.
func (u *unpacking) layer(ctx context.Context, dir string, below []string, l layerBlob) (int64, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return 0, classify(err)
	}
	// Whatever the umask: a read-only root shows this folder's mode as that of
	// "/".
	if err := os.Chmod(dir, 0o755); err != nil {
		return 0, err
	}
	return applyLayer(ctx, dir, below, u.meter.counting(l), &u.totals, u.log)
}

// claim tells whether the layer is in the store; if not, nobody else unpacks it
// until the lock is released.
func (u *unpacking) claim(ctx context.Context, chain v1.Hash) (dir string, exists bool, err error) {
	dir = u.layerDir(chain)
	if exists, err = isThere(dir); exists || err != nil {
		return dir, exists, err
	}
	if err := u.lock.layer(ctx, chain); err != nil {
		return "", false, err
	}
	exists, err = isThere(dir) // somebody may have finished it meanwhile
	return dir, exists, err
}

func isThere(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// publish writes the new layers and the record through to the disk and gives
// them their names, the record last. What takes space happens before the first
// rename.
func (u *unpacking) publish(r *record) error {
	staged := filepath.Join(u.dir, "record.json") // layers are called by hex digits
	if err := writeJSON(staged, r); err != nil {
		return fmt.Errorf("write the record of the image: %w", err)
	}
	if err := u.sync(); err != nil {
		return err
	}
	for _, p := range u.pending {
		if err := os.Rename(p.from, u.layerDir(p.chain)); err != nil {
			return fmt.Errorf("move a layer into the store: %w", classify(err))
		}
	}
	if err := syncDir(u.layers); err != nil {
		return fmt.Errorf("move the layers into the store: %w", err)
	}
	if err := os.Rename(staged, u.recordFile(r.Digest)); err != nil {
		return fmt.Errorf("move the record of the image into the store: %w", classify(err))
	}
	return syncDir(u.images)
}

// sync writes all layers through to the disk: one syncfs instead of an fsync
// for each of thousands of files. It also reports errors of delayed writing,
// ENOSPC among them.
func (u *unpacking) sync() error {
	if len(u.pending) == 0 {
		return nil
	}
	d, err := os.Open(u.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("write the layers to disk: %w", classify(err))
	}
	return nil
}
