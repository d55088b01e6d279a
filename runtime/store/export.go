package store

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"

	"github.com/fcnode/fcnode/runtime/file"
)

// ErrNotEmpty means that there are sites, which an import would take away.
var ErrNotEmpty = errors.New("the node has sites, which would be gone")

// Export writes all that the copy has, in its form, as it is at one moment.
func (s *Store) Export(w io.Writer) error {
	if err := s.writeText(w); err != nil {
		return fmt.Errorf("export the state file: %w", err)
	}
	return nil
}

// writeText writes the state as text, with its checksum.
func (s *Store) writeText(w io.Writer) error {
	sum := sha256.New()
	text := bufio.NewWriter(io.MultiWriter(w, sum))
	err := s.view(func(tx *bolt.Tx) error { return s.writeRecords(tx, text) })
	if err = errors.Join(err, text.Flush()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s%x\n", sumPrefix, sum.Sum(nil))
	return err
}

// BeforeImport and the state file's name make the name of what an import has
// replaced.
const BeforeImport = ".before-import"

// Import puts a state that was exported in the place of the state file at path, all
// of it or nothing, and says how many sites it has. name is what the text is called in
// errors. No daemon may run. Where there are sites it is ErrNotEmpty without replace;
// the file that was replaced stays beside it. Numbers that were given to sites and
// replicas here are not given again.
func Import(path, name string, text []byte, replace bool) (sites int, err error) {
	c, err := parseCopy(name, text)
	if err == nil {
		err = c.check(name)
	}
	if err != nil {
		return 0, err
	}
	had, err := found(path, replace)
	if err != nil {
		return 0, err
	}
	c.head.LastSiteID, c.head.ReplicaIDs = max(c.head.LastSiteID, had.LastSiteID), max(c.head.ReplicaIDs, had.ReplicaIDs)
	err = putFresh(path, c, func() error {
		// The copy is of what is replaced. The next daemon makes another, of whichever
		// state file it finds.
		return errors.Join(file.RemoveAll(path+CopySuffix), keepBefore(path))
	})
	if err != nil {
		return 0, fmt.Errorf("import %s: %w", name, err)
	}
	return len(c.records), nil
}

// check reads each record as a daemon will.
func (c *copied) check(name string) error {
	ids := map[uint32]string{}
	for i, raw := range c.records {
		var site Site
		if err := json.Unmarshal(raw, &site); err != nil {
			return fmt.Errorf("%s:%d: %w", name, i+2, err)
		}
		if err := site.Spec.Validate(); err != nil {
			return fmt.Errorf("%s:%d: site %s: %w", name, i+2, site.Spec.Name, err)
		}
		if other, taken := ids[site.ID]; taken || site.ID == 0 || uint64(site.ID) > c.head.LastSiteID {
			return fmt.Errorf("%s:%d: site %s has the number %d, which cannot be (site %q has it, or it was never given)", name, i+2, site.Spec.Name, site.ID, other)
		}
		ids[site.ID] = site.Spec.Name
	}
	return nil
}

// found says which numbers the state file at path has given.
func found(path string, replace bool) (had copyHead, err error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(path + CopySuffix); errors.Is(err, fs.ErrNotExist) {
			return had, nil
		}
	}
	s, err := openSound(path)
	if errors.Is(err, file.ErrDamaged) && replace {
		return had, nil // it stays beside the new one
	}
	if err != nil {
		return had, err
	}
	err = s.view(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		had = copyHead{LastSiteID: number(meta, keySiteID), ReplicaIDs: number(meta, keyReplicas), Sites: tx.Bucket(bucketSites).Stats().KeyN}
		return nil
	})
	if err = errors.Join(err, s.db.Close()); err == nil && had.Sites > 0 && !replace {
		err = fmt.Errorf("state file %s: %d sites: %w", path, had.Sites, ErrNotEmpty)
	}
	return had, err
}

// keepBefore gives the state file a second name.
func keepBefore(path string) error {
	before := path + BeforeImport
	if err := os.Remove(before); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Link(path, before); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// putFresh makes a new state file of a copy and, after before, puts it in its place,
// durably: a kill in between leaves nothing half there.
func putFresh(path string, c *copied, before func() error) error {
	tmp := path + ".new"
	err := fresh(tmp, c)
	if err == nil {
		err = before()
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp) // or else the next one does
		return err
	}
	return file.SyncDir(filepath.Dir(path))
}

// fresh makes a new state file of a copy.
func fresh(path string, c *copied) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s, err := openAt(path)
	if err != nil {
		return err
	}
	return errors.Join(s.fill(c), s.db.Close())
}

// parseCopy verifies a copy that was read, which is called name in errors.
func parseCopy(name string, b []byte) (*copied, error) {
	body := bytes.TrimSuffix(b, []byte("\n"))
	cut := bytes.LastIndexByte(body, '\n') + 1
	sum := sha256.Sum256(body[:cut])
	if string(body[cut:]) != fmt.Sprintf("%s%x", sumPrefix, sum) {
		return nil, fmt.Errorf("%s is %w: its checksum is wrong", name, file.ErrDamaged)
	}
	lines := bytes.Split(bytes.TrimSuffix(body[:cut], []byte("\n")), []byte("\n"))
	c := &copied{records: lines[1:]}
	if err := json.Unmarshal(lines[0], &c.head); err != nil {
		return nil, fmt.Errorf("%s is %w: %w", name, file.ErrDamaged, err)
	}
	if c.head.Version > version {
		return nil, fmt.Errorf("%s was made by a newer fcnode (layout %d, this one knows %d)", name, c.head.Version, version)
	}
	if c.head.Sites != len(c.records) {
		return nil, fmt.Errorf("%s is %w: it has %d sites, and says %d", name, file.ErrDamaged, len(c.records), c.head.Sites)
	}
	return c, nil
}
