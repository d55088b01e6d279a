package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fcnode/fcnode/runtime/file"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// racy is how old a file's last change must be before its identity is believed. A
// file rewritten within one tick of the file system's clock keeps its mtime (git's
// "racy" index entries); 2 s is the coarsest clock there is.
const racy = 2 * time.Second

// fileID tells one state of a file from another without reading it.
type fileID struct {
	Inode uint64 `json:"inode"`
	Size  int64  `json:"size"`
	MTime int64  `json:"mtime"` // ns since 1970
	CTime int64  `json:"ctime"` // ns since 1970; cannot be set back as mtime can
}

func identify(path string) (fileID, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return fileID{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return fileID{Inode: st.Ino, Size: st.Size, MTime: unix.TimespecToNsec(st.Mtim), CTime: unix.TimespecToNsec(st.Ctim)}, nil
}

// archiveCache remembers which image an archive held, so that a cold start does not
// look for the manifest in a file of gigabytes. Kept on disk across restarts.
type archiveCache struct {
	dir string
	now func() time.Time

	mu      sync.Mutex
	entries map[Ref]archiveEntry // guarded by mu; what was read from or written to dir
}

type archiveEntry struct {
	Ref      string  `json:"ref"`
	Identity fileID  `json:"identity"`
	Digest   v1.Hash `json:"digest"`
}

func newArchiveCache(dir string) *archiveCache {
	return &archiveCache{dir: dir, now: time.Now, entries: map[Ref]archiveEntry{}}
}

func (c *archiveCache) file(ref Ref) string {
	sum := sha256.Sum256([]byte(ref.String()))
	return filepath.Join(c.dir, hex.EncodeToString(sum[:16])+".json")
}

// get gives the digest of ref if its archive is still the file it was.
func (c *archiveCache) get(ref Ref, id fileID) (v1.Hash, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[ref]
	if !ok {
		raw, err := file.Read(c.file(ref), file.Small)
		if err != nil || json.Unmarshal(raw, &e) != nil || e.Ref != ref.String() {
			return v1.Hash{}, false // it is only a cache: reading the archive heals it
		}
		c.entries[ref] = e
	}
	return e.Digest, e.Identity == id
}

// put remembers that the file with identity id is the image h, unless id is too young to be believed.
func (c *archiveCache) put(ref Ref, id fileID, h v1.Hash) error {
	if c.now().Sub(time.Unix(0, max(id.CTime, id.MTime))) < racy {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e := archiveEntry{Ref: ref.String(), Identity: id, Digest: h}
	if err := writeJSON(c.file(ref), e); err != nil {
		return fmt.Errorf("remembering the image of archive %s: %w", ref.Path, err)
	}
	c.entries[ref] = e
	return nil
}

// prune removes the archives whose image live denies.
func (c *archiveCache) prune(live func(v1.Hash) bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for ref, e := range c.entries {
		if !live(e.Digest) {
			delete(c.entries, ref)
		}
	}
	files, err := os.ReadDir(c.dir)
	if err != nil {
		return fmt.Errorf("listing remembered archives: %w", err)
	}
	for _, f := range files {
		path := filepath.Join(c.dir, f.Name())
		var e archiveEntry
		raw, err := file.Read(path, file.Small)
		if err == nil && json.Unmarshal(raw, &e) == nil && live(e.Digest) {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the record of an archive: %w", err)
		}
	}
	return nil
}
