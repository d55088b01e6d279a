package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/fcnode/fcnode/runtime/spec"
)

// Site is one site as it was applied.
type Site struct {
	ID     uint32     `json:"id"`
	Addr4  netip.Addr `json:"addr4,omitzero"`
	Addr6  netip.Addr `json:"addr6,omitzero"`
	Source string     `json:"source,omitempty"` // spec file it came from; empty: the API
	Spec   spec.Site  `json:"spec"`
}

// SetAddr gives the site an address of its family.
func (s *Site) SetAddr(a netip.Addr) {
	if a.Is4() {
		s.Addr4 = a
	} else {
		s.Addr6 = a
	}
}

// ErrLocked means that another process has the file open.
var ErrLocked = errors.New("another process has it open")

// ErrNotFound means that no site of that name is kept.
var ErrNotFound = errors.New("no such site")

var (
	bucketMeta  = []byte("meta")
	bucketSites = []byte("sites")

	keyVersion  = []byte("version")
	keySiteID   = []byte("last-site-id")
	keyReplicas = []byte("replica-ids-used")
)

// version of the layout; a newer one is refused, not guessed at.
const version = 1

// replicaBlock is how many replica ids are taken from the file at once, so
// that a wake does not wait for the disk.
const replicaBlock = 4096

// Store is an open state file. Its methods may be called from any goroutine.
type Store struct {
	db *bolt.DB
}

// Open opens or creates the state file at path. It waits for up to a second
// for another process to let go of it: ErrLocked.
func Open(path string) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the state folder: %w", err)
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open state file %s: %w (is another fcnode running?)", path, ErrLocked)
	}
	if err != nil {
		return nil, fmt.Errorf("open state file %s: %w", path, err)
	}
	s := &Store{db: db}
	if err := s.init(); err != nil {
		return nil, errors.Join(fmt.Errorf("state file %s: %w", path, err), db.Close())
	}
	return s, nil
}

func (s *Store) init() error {
	return s.db.Update(func(tx *bolt.Tx) error {
		meta, err := tx.CreateBucketIfNotExists(bucketMeta)
		if err != nil {
			return err
		}
		if _, err := tx.CreateBucketIfNotExists(bucketSites); err != nil {
			return err
		}
		if v := number(meta, keyVersion); v > version {
			return fmt.Errorf("made by a newer fcnode (layout %d, this one knows %d): upgrade fcnode, or move the file away", v, version)
		}
		return putNumber(meta, keyVersion, version)
	})
}

// Close closes the file.
func (s *Store) Close() error { return s.db.Close() }

// Put keeps all the sites, or none. Those with ID 0 are given one; if nothing
// is kept it is taken back.
func (s *Store) Put(sites []*Site) error {
	var numbered []*Site
	err := s.db.Update(func(tx *bolt.Tx) error {
		meta, bucket := tx.Bucket(bucketMeta), tx.Bucket(bucketSites)
		last := number(meta, keySiteID)
		for _, site := range sites {
			if site.ID == 0 {
				last++
				site.ID = uint32(last)
				numbered = append(numbered, site)
			}
			b, err := json.Marshal(site)
			if err != nil {
				return fmt.Errorf("encode site %s: %w", site.Spec.Name, err)
			}
			if err := bucket.Put([]byte(site.Spec.Name), b); err != nil {
				return fmt.Errorf("site %s: %w", site.Spec.Name, err)
			}
		}
		return putNumber(meta, keySiteID, last)
	})
	if err != nil {
		for _, site := range numbered {
			site.ID = 0 // the next Put gives the number to another
		}
		return fmt.Errorf("keep %d sites in the state file: %w", len(sites), err)
	}
	return nil
}

// Get returns one site, or ErrNotFound.
func (s *Store) Get(name string) (*Site, error) {
	var site Site
	err := s.db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketSites).Get([]byte(name))
		if b == nil {
			return ErrNotFound
		}
		return json.Unmarshal(b, &site)
	})
	if err != nil {
		return nil, fmt.Errorf("read site %s from the state file: %w", name, err)
	}
	return &site, nil
}

// Delete forgets sites; those that are not there are no error.
func (s *Store) Delete(names ...string) error {
	err := s.db.Update(func(tx *bolt.Tx) error {
		for _, name := range names {
			if err := tx.Bucket(bucketSites).Delete([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete %d sites from the state file: %w", len(names), err)
	}
	return nil
}

// All calls fn for each site, ordered by name. The site is fn's to keep. A
// record that cannot be read is an error.
func (s *Store) All(fn func(*Site) error) error {
	return s.Readable(fn, func(_ string, err error) error { return err })
}

// Readable does so for those that can be read, and calls bad for the others
// (kept by another version, say): one of them must not keep thousands from
// being served.
//
// Records are decoded by all CPUs, as a start waits for it: fn and bad are
// called by one goroutine, in order.
func (s *Store) Readable(fn func(*Site) error, bad func(name string, err error) error) error {
	return s.db.View(func(tx *bolt.Tx) error {
		batch := make([]record, 0, decodeBatch)
		deliver := func() error {
			decode(batch)
			for i := range batch {
				r := &batch[i]
				var err error
				if r.err != nil {
					err = bad(string(r.name), fmt.Errorf("read site %s from the state file: %w", r.name, r.err))
				} else {
					err = fn(r.site)
				}
				if err != nil {
					return err
				}
			}
			batch = batch[:0]
			return nil
		}
		err := tx.Bucket(bucketSites).ForEach(func(name, raw []byte) error {
			batch = append(batch, record{name: name, raw: raw})
			if len(batch) < decodeBatch {
				return nil
			}
			return deliver()
		})
		if err != nil {
			return err
		}
		return deliver()
	})
}

// decodeBatch is how many records are decoded before they are handed on.
const decodeBatch = 1024

// record is one of a batch. Its bytes are bbolt's, and valid within the
// transaction.
type record struct {
	name, raw []byte
	site      *Site
	err       error
}

func decode(batch []record) {
	var wg sync.WaitGroup
	share := (len(batch) + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0)
	for part := range slices.Chunk(batch, max(share, 1)) {
		wg.Go(func() {
			for i := range part {
				part[i].site = &Site{}
				part[i].err = json.Unmarshal(part[i].raw, part[i].site)
			}
		})
	}
	wg.Wait()
}

// ReplicaIDs takes a block of replica ids that nobody has had: first to last.
func (s *Store) ReplicaIDs() (first, last uint32, err error) {
	err = s.db.Update(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		used := number(meta, keyReplicas)
		first, last = uint32(used)+1, uint32(used)+replicaBlock
		return putNumber(meta, keyReplicas, uint64(last))
	})
	if err != nil {
		return 0, 0, fmt.Errorf("take replica numbers from the state file: %w", err)
	}
	return first, last, nil
}

func number(b *bolt.Bucket, key []byte) uint64 {
	v := b.Get(key)
	if len(v) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(v)
}

func putNumber(b *bolt.Bucket, key []byte, n uint64) error {
	return b.Put(key, binary.BigEndian.AppendUint64(nil, n))
}
