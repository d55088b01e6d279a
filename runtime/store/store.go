package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/fcnode/fcnode/runtime/file"
	"github.com/fcnode/fcnode/runtime/spec"
)

// Site is one site as it was applied.
type Site struct {
	ID     uint32     `json:"id"`
	Addr4  netip.Addr `json:"addr4,omitzero"`
	Addr6  netip.Addr `json:"addr6,omitzero"`
	Source string     `json:"source,omitempty"` // spec file it came from; empty: the API
	Image  string     `json:"image,omitempty"`  // digest that the spec's image had when it was applied; empty: a folder, or not known yet
	Spec   spec.Site  `json:"spec"`

	Revision uint64 `json:"revision,omitempty"` // counts the changes of spec and image; 0: none since there are revisions
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
	bucketKept  = []byte("reserved") // addresses of deleted sites, by name; files of older versions have none

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
// A file that is damaged while it is open makes errors, not panics.
type Store struct {
	db   *bolt.DB
	path string

	quarantine string // folder

	recovery *Recovery
	lost     func(error)
	changed  chan struct{} // of one: a copy is due
	close    sync.Once     // closes closing
	closing  chan struct{}
	copier   chan struct{} // closed when nothing is copied any more
}

// Options of Open.
type Options struct {
	Quarantine string          // folder for a damaged state file; "": "quarantine" beside it
	NoCopy     func(err error) // is told when no copy can be made; may be nil
}

// Open opens or creates the state file at path. It waits for up to a second
// for another process to let go of it: ErrLocked. A file that is damaged, or
// gone while its copy is there, is replaced by the copy; Recovered tells.
func Open(path string, o Options) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the state folder: %w", err)
	}
	if o.Quarantine == "" {
		o.Quarantine = filepath.Join(filepath.Dir(path), "quarantine")
	}
	s, err := openSound(path)
	if errors.Is(err, file.ErrDamaged) {
		s, err = recoverFrom(path, o.Quarantine, err)
	}
	if err != nil {
		return nil, err
	}
	s.lost, s.quarantine = o.NoCopy, o.Quarantine
	s.changed, s.closing, s.copier = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	go s.keepCopies()
	return s, nil
}

// Recovered says that Open has put the copy in the place of the state file; nil:
// there was no need to.
func (s *Store) Recovered() *Recovery { return s.recovery }

// openSound opens the file if it is one that this package has made, or if there is
// neither it nor a copy of it.
func openSound(path string) (*Store, error) {
	if err := file.Check(path, 1<<62); err != nil {
		return nil, err
	}
	if st, err := os.Stat(path); err != nil || st.Size() == 0 {
		if _, err := os.Lstat(path + CopySuffix); err == nil {
			return nil, fmt.Errorf("the state file is %w: it is gone or empty, and its copy is there", file.ErrDamaged)
		}
	}
	return openAt(path)
}

func openAt(path string) (*Store, error) {
	s := &Store{path: path}
	err := guard(func() (err error) {
		s.db, err = bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType})
		return err
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open state file %s: %w (is another fcnode running?)", path, ErrLocked)
	}
	if err != nil {
		return nil, fmt.Errorf("open state file %s: %w", path, damage(err))
	}
	if err := guard(s.init); err != nil {
		return nil, errors.Join(fmt.Errorf("state file %s: %w", path, err), s.db.Close())
	}
	return s, nil
}

// damage tells what is wrong with a file from what is wrong with the machine: that
// comes as an errno.
func damage(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) || errors.Is(err, file.ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w: %w", file.ErrDamaged, err)
}

// guard makes errors of the panics with which bbolt meets pages that make no
// sense, and of the fault with which the kernel meets a read behind the end of a
// file that was cut off.
func guard(f func() error) (err error) {
	was := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(was)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", file.ErrDamaged, p)
		}
	}()
	return f()
}

func (s *Store) view(f func(*bolt.Tx) error) error {
	return guard(func() error { return s.db.View(f) })
}

func (s *Store) update(f func(*bolt.Tx) error) error {
	return guard(func() error { return s.db.Update(f) })
}

// init makes what a new file lacks, and looks at all pages of an old one. That
// writes nothing: a daemon starts on a disk that is full.
func (s *Store) init() error {
	known, fresh := false, true
	err := s.db.View(func(tx *bolt.Tx) error {
		meta, sites := tx.Bucket(bucketMeta), tx.Bucket(bucketSites)
		fresh = meta == nil && sites == nil
		if fresh {
			return nil
		}
		if meta == nil || sites == nil {
			return fmt.Errorf("%w: a part of it is missing", file.ErrDamaged)
		}
		v := number(meta, keyVersion)
		if v > version {
			return fmt.Errorf("made by a newer fcnode (layout %d, this one knows %d): upgrade fcnode, or move the file away", v, version)
		}
		known = v == version
		st, err := os.Stat(s.path)
		if err == nil && st.Size() < tx.Size() {
			return fmt.Errorf("%w: it has %d bytes, and had %d", file.ErrDamaged, st.Size(), tx.Size())
		}
		if denied := tx.Bucket(bucketDenied); denied != nil {
			err = errors.Join(err, walk(denied))
		}
		if earlier := tx.Bucket(bucketVersions); earlier != nil {
			err = errors.Join(err, walk(earlier))
		}
		return errors.Join(err, walk(meta), walk(sites))
	})
	if err != nil || known {
		return err
	}
	return s.db.Update(func(tx *bolt.Tx) error {
		meta, err := tx.CreateBucketIfNotExists(bucketMeta)
		if err != nil {
			return err
		}
		if _, err := tx.CreateBucketIfNotExists(bucketSites); err != nil {
			return err
		}
		return putNumber(meta, keyVersion, version)
	})
}

// walk reads a bucket, and checks that its keys are in order.
func walk(b *bolt.Bucket) error {
	var last []byte
	var sum byte
	return b.ForEach(func(k, v []byte) error {
		if last != nil && bytes.Compare(last, k) >= 0 {
			return fmt.Errorf("%w: its keys are out of order", file.ErrDamaged)
		}
		last = k
		for _, c := range v {
			sum ^= c // faults where the file was cut off
		}
		return nil
	})
}

// Close makes a copy that is due and closes the file. Calling it again is fine.
func (s *Store) Close() error {
	s.close.Do(func() { close(s.closing) })
	<-s.copier
	return s.db.Close()
}

// Put keeps all the sites, or none. Those with ID 0 are given one; if nothing
// is kept it is taken back.
func (s *Store) Put(sites []*Site) error {
	return s.put(sites, func(*bolt.Tx, *Site) error { return nil })
}

// put does as Put, and calls first before it replaces each record.
func (s *Store) put(sites []*Site, first func(*bolt.Tx, *Site) error) error {
	var numbered []*Site
	err := s.update(func(tx *bolt.Tx) error {
		meta, bucket := tx.Bucket(bucketMeta), tx.Bucket(bucketSites)
		last := number(meta, keySiteID)
		for _, site := range sites {
			if site.ID == 0 {
				last++
				site.ID = uint32(last)
				numbered = append(numbered, site)
			}
			if err := first(tx, site); err != nil {
				return fmt.Errorf("keep what site %s was: %w", site.Spec.Name, err)
			}
			b, err := json.Marshal(site)
			if err != nil {
				return fmt.Errorf("encode site %s: %w", site.Spec.Name, err)
			}
			if err := bucket.Put([]byte(site.Spec.Name), b); err != nil {
				return fmt.Errorf("site %s: %w", site.Spec.Name, err)
			}
			if kept := tx.Bucket(bucketKept); kept != nil {
				if err := kept.Delete([]byte(site.Spec.Name)); err != nil {
					return fmt.Errorf("site %s: %w", site.Spec.Name, err)
				}
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
	s.touched()
	return nil
}

// Get returns one site, or ErrNotFound.
func (s *Store) Get(name string) (*Site, error) {
	var site Site
	err := s.view(func(tx *bolt.Tx) error {
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

// Pin keeps the digest of a site's image if none is kept, and if the site still
// names that image.
func (s *Store) Pin(name, image, digest string) (pinned bool, err error) {
	err = s.update(func(tx *bolt.Tx) error {
		bucket := tx.Bucket(bucketSites)
		raw := bucket.Get([]byte(name))
		if raw == nil {
			return ErrNotFound
		}
		site, err := decodeSite([]byte(name), raw)
		if err != nil || site.Spec.Image != image || site.Image != "" {
			return err
		}
		site.Image, pinned = digest, true
		if raw, err = json.Marshal(site); err != nil {
			return err
		}
		return bucket.Put([]byte(name), raw)
	})
	if err != nil {
		return false, fmt.Errorf("keep the digest of the image of site %s in the state file: %w", name, err)
	}
	if pinned {
		s.touched()
	}
	return pinned, nil
}

// Delete deletes sites; one that is not there is no error.
func (s *Store) Delete(names ...string) error {
	err := s.update(func(tx *bolt.Tx) error {
		for _, name := range names {
			if err := errors.Join(tx.Bucket(bucketSites).Delete([]byte(name)), deleteVersions(tx, name)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete %d sites from the state file: %w", len(names), err)
	}
	s.touched()
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
	return s.view(func(tx *bolt.Tx) error {
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
			batch = append(batch, record{name: bytes.Clone(name), raw: bytes.Clone(raw)}) // decoded where a fault would be fatal
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

// record is one of a batch.
type record struct {
	name, raw []byte
	site      *Site
	err       error
}

// decodeSite reads a record, which has to be the one of its key.
func decodeSite(name, raw []byte) (*Site, error) {
	s := &Site{}
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, err
	}
	if s.Spec.Name != string(name) || s.ID == 0 {
		return nil, fmt.Errorf("%w: it is of site %q, with number %d", file.ErrDamaged, s.Spec.Name, s.ID)
	}
	return s, nil
}

func decode(batch []record) {
	var wg sync.WaitGroup
	share := (len(batch) + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0)
	for part := range slices.Chunk(batch, max(share, 1)) {
		wg.Go(func() {
			for i := range part {
				part[i].site, part[i].err = decodeSite(part[i].name, part[i].raw)
			}
		})
	}
	wg.Wait()
}

// ReplicaIDs takes a block of replica ids that nobody has had: first to last.
func (s *Store) ReplicaIDs() (first, last uint32, err error) {
	err = s.update(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		used := number(meta, keyReplicas)
		first, last = uint32(used)+1, uint32(used)+replicaBlock
		return putNumber(meta, keyReplicas, uint64(last))
	})
	if err != nil {
		return 0, 0, fmt.Errorf("take replica numbers from the state file: %w", err)
	}
	s.touched()
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
