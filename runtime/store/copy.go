package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/fcnode/fcnode/runtime/file"
)

// CopySuffix and the state file's name make the name of its copy.
const CopySuffix = ".copy"

// maxCopy bounds a copy that is believed (bytes): a million sites with large specs.
const maxCopy = 4 << 30

// The copy is text, so that a damage of it is found, and one of the state file's
// pages is not copied with it: a line of JSON about all, one for each site, and
// the SHA-256 of what is before it.
type copyHead struct {
	Version    int       `json:"version"`
	Made       time.Time `json:"made"`
	LastSiteID uint64    `json:"lastSiteId"`
	ReplicaIDs uint64    `json:"replicaIdsUsed"`
	Sites      int       `json:"sites"`

	Reserved map[string]Reservation  `json:"reserved,omitempty"`
	Denied   map[netip.Prefix]Denial `json:"denied,omitempty"`
}

const sumPrefix = "sha256:"

// copied is a copy that was read and is whole.
type copied struct {
	head    copyHead
	records [][]byte
}

// readCopy reads the copy at path, and verifies it.
func readCopy(path string) (*copied, error) {
	b, err := file.Read(path, maxCopy)
	if err != nil {
		return nil, err
	}
	return parseCopy(path, b)
}

// site finds a site's record in the copy.
func (c *copied) site(name string) (*Site, bool) {
	for _, raw := range c.records {
		s := &Site{}
		if json.Unmarshal(raw, s) == nil && s.Spec.Name == name {
			return s, true
		}
	}
	return nil, false
}

// writeCopy replaces the copy. Sites whose record is damaged are taken from the
// copy before, if that has them: a copy is never worse than the one it replaces.
func (s *Store) writeCopy() (err error) {
	tmp := s.copyPath() + ".new"
	if err := os.RemoveAll(tmp); err != nil { // whatever it is
		return fmt.Errorf("copy the state file: %w", err)
	}
	if errors.Is(file.Check(s.copyPath(), maxCopy), file.ErrDamaged) {
		if _, err := file.Quarantine(s.copyPath(), s.quarantine); err != nil {
			return fmt.Errorf("copy the state file: %w", err)
		}
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("copy the state file: %w", err)
	}
	if err = errors.Join(s.writeText(f), f.Sync(), f.Close()); err == nil {
		_, err = readCopy(tmp)
	}
	if err == nil {
		err = os.Rename(tmp, s.copyPath())
	}
	if err != nil {
		return fmt.Errorf("copy the state file: %w", errors.Join(err, os.Remove(tmp)))
	}
	return nil
}

func (s *Store) writeRecords(tx *bolt.Tx, w io.Writer) error {
	meta, sites := tx.Bucket(bucketMeta), tx.Bucket(bucketSites)
	var before *copied
	var records [][]byte
	err := sites.ForEach(func(name, raw []byte) error {
		site, err := decodeSite(name, raw)
		if err != nil {
			if before == nil {
				if before, err = readCopy(s.copyPath()); err != nil {
					before = &copied{}
				}
			}
			var there bool
			if site, there = before.site(string(name)); !there {
				return nil
			}
		}
		line, err := json.Marshal(site)
		records = append(records, line)
		return err
	})
	if err != nil {
		return err
	}
	head, err := json.Marshal(copyHead{
		Version: version, Made: time.Now().UTC(), LastSiteID: number(meta, keySiteID), ReplicaIDs: number(meta, keyReplicas), Sites: len(records),
		Reserved: reservations(tx), Denied: denials(tx),
	})
	if err != nil {
		return err
	}
	for _, line := range append([][]byte{head}, records...) {
		if _, err := w.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) copyPath() string { return s.path + CopySuffix }

// replicasAhead are replica numbers that may have been taken since a copy was
// made: they are not given again.
const replicasAhead = 64 * replicaBlock

// fill makes a fresh state file of a copy.
func (s *Store) fill(c *copied) error {
	return s.update(func(tx *bolt.Tx) error {
		meta, sites := tx.Bucket(bucketMeta), tx.Bucket(bucketSites)
		for _, raw := range c.records {
			var site Site
			if err := json.Unmarshal(raw, &site); err != nil {
				return fmt.Errorf("take a site from the copy: %w", err)
			}
			if err := sites.Put([]byte(site.Spec.Name), raw); err != nil {
				return fmt.Errorf("take site %s from the copy: %w", site.Spec.Name, err)
			}
		}
		kept, err := tx.CreateBucketIfNotExists(bucketKept)
		if err != nil {
			return err
		}
		for name, r := range c.head.Reserved {
			raw, err := json.Marshal(r)
			if err == nil {
				err = kept.Put([]byte(name), raw)
			}
			if err != nil {
				return fmt.Errorf("take the reserved addresses of %s from the copy: %w", name, err)
			}
		}
		if err := putDenials(tx, c.head.Denied); err != nil {
			return fmt.Errorf("take the denied sources from the copy: %w", err)
		}
		return errors.Join(putNumber(meta, keySiteID, c.head.LastSiteID), putNumber(meta, keyReplicas, c.head.ReplicaIDs+replicasAhead))
	})
}

// Recovery says what Open has made of a damaged state file.
type Recovery struct {
	Why   error     // what was wrong with it
	Files string    // where it is now; "" if there was none
	Made  time.Time // when the copy was made that took its place
	Sites int
}

// recoverFrom puts the copy in the place of a state file that is damaged or gone.
func recoverFrom(path, quarantine string, why error) (*Store, error) {
	c, err := readCopy(path + CopySuffix)
	if err != nil {
		return nil, fmt.Errorf("state file %s: %w; and its copy cannot be used: %w: put a backup of either file in its place; "+
			"or move both away to start with no sites, which ends those that run, and apply their specs again", path, why, err)
	}
	r := &Recovery{Why: why, Made: c.head.Made, Sites: len(c.records)}
	if _, err := os.Lstat(path); err == nil {
		if r.Files, err = file.Quarantine(path, quarantine); err != nil && r.Files == "" {
			return nil, fmt.Errorf("state file %s: %w: move it away: %w", path, why, err)
		}
	}
	if err := putFresh(path, c, func() error { return nil }); err != nil {
		return nil, fmt.Errorf("make a state file of its copy: %w", err)
	}
	s, err := openAt(path)
	if err == nil {
		s.recovery = r
	}
	return s, err
}

// keepCopies makes a new copy after changes, until the store is closed: soon, but
// with thousands of sites not after each of many changes.
func (s *Store) keepCopies() {
	defer close(s.copier)
	if _, err := readCopy(s.copyPath()); err != nil || s.recovery != nil {
		s.touched()
	}
	for ended := false; !ended; {
		if err := s.reserve(); err != nil && s.lost != nil {
			s.lost(err)
		}
		select {
		case <-s.changed:
		case <-s.closing:
			if ended = true; len(s.changed) == 0 {
				return
			}
		}
		begin := time.Now()
		if err := s.writeCopy(); err != nil && s.lost != nil {
			s.lost(err)
		}
		select {
		case <-time.After(copyPause + copyRest*time.Since(begin)):
		case <-s.closing:
		}
	}
}

// headroom is how much more than it has the state file can hold on a disk that is full,
// in bytes: some thousand sites.
const headroom = 16 << 20

// reserve takes the blocks for that.
func (s *Store) reserve() error {
	f, err := os.OpenFile(s.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil {
		err = file.Reserve(f, st.Size()+headroom)
	}
	return errors.Join(err, f.Close())
}

// Between two copies is this pause, and this many times what a copy takes.
const (
	copyPause = 200 * time.Millisecond
	copyRest  = 20
)

// touched has a copy made.
func (s *Store) touched() {
	select {
	case s.changed <- struct{}{}:
	default: // one is due
	}
}

// FromCopy gives a site whose record in the state file is damaged, as the copy has
// it. ErrNotFound: it has none.
func (s *Store) FromCopy(name string) (*Site, error) {
	c, err := readCopy(s.copyPath())
	if err != nil {
		return nil, err
	}
	if site, ok := c.site(name); ok {
		return site, nil
	}
	return nil, ErrNotFound
}
