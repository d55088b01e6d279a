package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/fcnode/fcnode/runtime/file"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
)

// maxLower bounds the length of all layer folders joined by ":" (bytes). mount(2) takes a page of
// options; what is left of 4096 is for upperdir, workdir and flags.
const maxLower = 3584

// record is what images/<digest> holds of an unpacked image.
type record struct {
	Digest v1.Hash   `json:"digest"`
	Ref    string    `json:"ref,omitempty"` // what it was unpacked by; empty: an older fcnode has
	Chain  []v1.Hash `json:"chain"`         // chain ids of the visible layers, from the bottom up
	Config Config    `json:"config"`
	Owners *Owners   `json:"owners,omitempty"` // nil: an older fcnode has unpacked it
}

// chainIDs gives the chain ids of layers from their diff ids, both from the bottom up.
func chainIDs(layers []layerBlob) ([]v1.Hash, error) {
	ids := make([]digest.Digest, len(layers))
	for i, l := range layers {
		ids[i] = digest.Digest(l.diffID.String())
	}
	chain := make([]v1.Hash, len(layers))
	for i, id := range identity.ChainIDs(ids) {
		var err error
		if chain[i], err = v1.NewHash(id.String()); err != nil {
			return nil, fmt.Errorf("chain id %q: %w", id, err)
		}
	}
	return chain, nil
}

// layerName is the name of a layer's folder: 128 bits of the chain id.
func layerName(chain v1.Hash) string { return chain.Hex[:32] }

func (s *Store) layerDir(chain v1.Hash) string { return filepath.Join(s.layers, layerName(chain)) }

func (s *Store) recordFile(d v1.Hash) string { return filepath.Join(s.images, d.Hex+".json") }

// lower gives the folders of a chain, the top one first.
func (s *Store) lower(chain []v1.Hash) []string {
	dirs := make([]string, 0, len(chain))
	for i := len(chain) - 1; i >= 0; i-- {
		dirs = append(dirs, s.layerDir(chain[i]))
	}
	return dirs
}

// checkLength refuses images with more layers than mount(2) can be told of.
func (s *Store) checkLength(chain []v1.Hash) error {
	if n := len(strings.Join(s.lower(chain), ":")); n > maxLower {
		each := n/len(chain) + 1
		return fmt.Errorf("%w: it has %d layers; overlayfs can be given %d of them from %s; squash some, or use a shorter state folder",
			ErrUnsupported, len(chain), maxLower/each, s.layers)
	}
	return nil
}

// loadRecord reads the record of an unpacked image. Records are replaced atomically, so
// one that is not JSON was damaged from outside.
func (s *Store) loadRecord(d v1.Hash) (*record, error) {
	raw, err := file.Read(s.recordFile(d), file.Small)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is not unpacked", ErrNotFound, d)
	} else if errors.Is(err, file.ErrDamaged) { // and in the way of the next one
		return nil, errors.Join(fmt.Errorf("%w: the record of image %s: %w", ErrCorrupt, d, err), os.RemoveAll(s.recordFile(d)))
	} else if err != nil {
		return nil, fmt.Errorf("reading the record of image %s: %w", d, err)
	}
	var r record
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, fmt.Errorf("%w: record %s (made anew by resolving the image): %w", ErrCorrupt, s.recordFile(d), err)
	}
	return &r, nil
}

// writeJSON replaces path by v, durably and atomically.
func writeJSON(path string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	// The name starts with a dot and so is none of those that are looked for.
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return classify(err)
	}
	_, err = tmp.Write(append(raw, '\n'))
	if err == nil {
		err = tmp.Sync()
	}
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(classify(err), os.Remove(tmp.Name()))
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a folder durable.
func syncDir(path string) error { return classify(file.SyncDir(path)) }
