package image

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
)

// Mappable is how many users and groups a user namespace of a site has; it sees
// what belongs to one from there on as nobody's.
const Mappable = 1 << 16

// Owners are those of an image's files that a user namespace of a site does not
// have.
type Owners struct {
	Files int    `json:"files"`          // that belong to such a user or group
	ID    uint32 `json:"id,omitempty"`   // the highest one
	Path  string `json:"path,omitempty"` // a file of it, in the image
}

// Owners gives them as they were when the image was unpacked. Those of a folder,
// which can change, and of an image that an older fcnode has unpacked are looked
// for now.
func (i *Image) Owners() (Owners, error) {
	if i.owners != nil {
		return *i.owners, nil
	}
	return findOwners(i.Lower)
}

// findOwners looks at what can be seen of layers, the top one first.
func findOwners(lower []string) (o Owners, err error) {
	for _, dir := range lower {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil {
				err = o.note(lower, dir, path, d)
			}
			if errors.Is(err, fs.ErrNotExist) && path != dir {
				return nil // a folder of somebody's, who has removed it just now
			}
			return err
		})
		if err != nil {
			return Owners{}, fmt.Errorf("looking for the owners of files: %w", err)
		}
	}
	return o, nil
}

// note counts a file of the layer dir, unless another layer hides it.
func (o *Owners) note(lower []string, dir, path string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	id := max(st.Uid, st.Gid)
	if id < Mappable {
		return nil
	}
	rel, err := filepath.Rel(dir, path)
	if err != nil {
		return err
	}
	if rel != "." {
		seen, ok, err := merged(lower).find(rel)
		if err != nil || !ok || seen.path != path {
			return err
		}
	} else if dir != lower[0] {
		return nil
	}
	o.Files++
	if id > o.ID {
		o.ID, o.Path = id, filepath.Join("/", rel)
	}
	return nil
}
