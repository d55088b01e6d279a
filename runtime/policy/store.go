package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/file"
)

// Store keeps what sites have taught, a file for each. Nobody waits for the
// disk: a file is written in the background, one at a time, and what comes while it
// waits for its turn takes the place of what it waited with. So the file ends up as
// what was put last, whatever the order in which goroutines get to run, and a reader
// is given what is not written yet.
//
// kill -9 loses what waits: the wakes since the last turn of the file, which on a
// disk that works is a few milliseconds. A daemon that is stopped waits for its writes.
type Store struct {
	dir  string
	work func(func()) // runs something in the background that the daemon's end waits for
	lost func(siteName string, err error)

	disk sync.Mutex // held for each write or removal

	mu      sync.Mutex
	waiting map[string][]byte // by site: newer than its file
}

// OpenStore gives the store below a state folder; work runs a function in the background.
func OpenStore(stateDir string, work func(func()), lost func(string, error)) *Store {
	return &Store{
		dir: filepath.Join(stateDir, "experience"), work: work, lost: lost, waiting: map[string][]byte{},
	}
}

// File is where a site's experience is kept.
func (s *Store) File(siteName string) string { return filepath.Join(s.dir, siteName+".json") }

// Put has the site's file replaced.
func (s *Store) Put(siteName string, x *Experience) error {
	b, err := json.Marshal(x)
	if err != nil {
		return fmt.Errorf("encode what was learnt of site %s: %w", siteName, err)
	}
	s.mu.Lock()
	_, due := s.waiting[siteName]
	s.waiting[siteName] = b
	s.mu.Unlock()
	if !due {
		s.work(func() { s.Sync(siteName) })
	}
	return nil
}

// Sync returns when what was put of a site is in its file.
func (s *Store) Sync(siteName string) {
	if err := s.write(siteName); err != nil {
		s.lost(siteName, err)
	}
}

// write writes what waits when its turn has come, and again while there is newer.
func (s *Store) write(siteName string) error {
	s.disk.Lock()
	defer s.disk.Unlock()
	var err error
	for {
		b, ok := s.newest(siteName)
		if !ok {
			return err
		}
		err = file.Replace(s.File(siteName), b)
		s.written(siteName, b)
	}
}

func (s *Store) newest(siteName string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.waiting[siteName]
	return b, ok
}

// written takes off what is in the file now, unless newer waits.
func (s *Store) written(siteName string, b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if newest := s.waiting[siteName]; len(newest) > 0 && &newest[0] == &b[0] {
		delete(s.waiting, siteName)
	}
}

// Flush writes what waits.
func (s *Store) Flush() {
	s.mu.Lock()
	sites := slices.Collect(maps.Keys(s.waiting))
	s.mu.Unlock()
	for _, name := range sites {
		s.Sync(name)
	}
}

// Load gives what was put last. What cannot be read is an error, beside which
// comes what is known of a site that has taught nothing.
func (s *Store) Load(siteName string) (*Experience, error) {
	b, ok := s.newest(siteName)
	if !ok {
		var err error
		if b, err = file.Read(s.File(siteName), file.Small); errors.Is(err, fs.ErrNotExist) {
			return NewExperience(), nil
		} else if err != nil {
			return NewExperience(), err
		}
	}
	x := NewExperience()
	if err := json.Unmarshal(b, x); err != nil {
		return NewExperience(), fmt.Errorf("decode %s: %w", s.File(siteName), err)
	}
	if x.Tiers == nil {
		x.Tiers = map[detect.Tier]*TierExperience{}
	}
	for name, t := range x.Tiers {
		if t == nil {
			delete(x.Tiers, name)
		}
	}
	return x, nil
}

// Remove deletes what is kept of a site. When it returns nothing of it is on disk, or comes there.
func (s *Store) Remove(siteName string) error {
	s.mu.Lock()
	delete(s.waiting, siteName)
	s.mu.Unlock()
	s.disk.Lock() // a write that is under way comes first
	defer s.disk.Unlock()
	if err := os.Remove(s.File(siteName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
