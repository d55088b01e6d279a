package criu

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fcnode/fcnode/runtime/file"
)

// Format is the version of the manifest and of the folder's layout.
const Format = 2

// The names in a checkpoint's folder.
const (
	ManifestFile = "manifest.json"
	ImagesDir    = "images"
	UpperDir     = "upper"
)

// Manifest says what a checkpoint is an image of, and what it fits.
type Manifest struct {
	Format  int       `json:"format"`
	ID      string    `json:"id"` // of this image, never used twice
	Created time.Time `json:"created"`

	Site        string `json:"site"`
	Replica     string `json:"replica"` // whose processes were dumped
	SpecDigest  string `json:"spec_digest"`
	ImageDigest string `json:"image_digest"`
	Clonable    bool   `json:"clonable,omitempty"` // good for more than one restore
	Warm        string `json:"warm,omitempty"`     // what the application had done by then
	// Born is when the processes were started, in whichever replica; zero in an image of before this was written down.
	Born time.Time `json:"born,omitzero"`

	Machine Machine `json:"machine"`

	Files  []File `json:"files"`
	Memory int64  `json:"memory"` // bytes of the processes' memory in it
	// Processes is how many there are in it; 0 in an image of before this was written down.
	Processes int   `json:"processes,omitempty"`
	Bytes     int64 `json:"bytes"` // of all files

	Restore json.RawMessage `json:"restore"` // what the restorer needs to know
}

// File is one file of an image.
type File struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
	CRC  uint32 `json:"crc32c"`
	// Inode and Changed (ctime, ns) tell without reading a file of many megabytes
	// whether anybody has changed it.
	Inode   uint64 `json:"inode"`
	Changed int64  `json:"changed"`
}

// Lazy reports whether the image's memory is better restored on demand: if it
// is large, and one process alone has it. What several processes share would be
// copied for each of them, and `criu lazy-pages` is made for trees of one.
func (m *Manifest) Lazy() bool {
	count := m.Processes
	if count == 0 {
		count = processes(m.Files)
	}
	return m.Memory >= LazyFrom && count == 1
}

// processes counts those of an image by their files: CRIU writes an mm-PID.img
// for each process, whatever the number of its threads.
func processes(files []File) (count int) {
	for _, f := range files {
		if strings.HasPrefix(f.Name, "mm-") {
			count++
		}
	}
	return count
}

// Want is what an image has to fit.
type Want struct {
	Site, SpecDigest, ImageDigest string
	Machine                       Machine
}

// Read reads the manifest of the checkpoint in dir. An error that is not
// os.ErrNotExist is ErrUnusable.
func Read(dir string) (Manifest, error) {
	var m Manifest
	b, err := file.Read(filepath.Join(dir, ManifestFile), file.Small)
	if errors.Is(err, os.ErrNotExist) {
		return m, fmt.Errorf("there is no checkpoint in %s: %w", dir, os.ErrNotExist)
	}
	if err != nil {
		return m, unusable("reading its manifest: %w", err)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, unusable("reading its manifest: %w", err)
	}
	if m.Format != Format {
		return m, unusable("its format is %d, and this fcnode knows %d", m.Format, Format)
	}
	return m, nil
}

// Fits reports, without reading the image files, why the checkpoint in dir cannot be
// restored as want.
func Fits(dir string, want Want) (Manifest, error) {
	m, err := Read(dir)
	if errors.Is(err, os.ErrNotExist) {
		return m, unusable("%w", err)
	}
	if err != nil {
		return m, err
	}
	if st, err := os.Stat(filepath.Join(dir, UpperDir)); err != nil || !st.IsDir() {
		return m, unusable("it is not complete: the processes that it is an image of were not ended after it was made")
	}
	return m, m.fits(want)
}

func (m *Manifest) fits(want Want) error {
	for _, c := range []struct{ what, has, wants string }{
		{"site", m.Site, want.Site},
		{"spec of the site", m.SpecDigest, want.SpecDigest},
		{"image of the site", m.ImageDigest, want.ImageDigest},
	} {
		if c.has != c.wants {
			return unusable("it was made with another %s: %q, and now it is %q", c.what, c.has, c.wants)
		}
	}
	return m.Machine.fits(want.Machine)
}

// Verify reports why the checkpoint in dir cannot be restored as want. It reads all that
// CRIU makes sense of; memory, which CRIU only copies, is VerifyMemory's.
func Verify(dir string, want Want) (Manifest, error) {
	m, err := Fits(dir, want)
	if err != nil {
		return m, err
	}
	images := filepath.Join(dir, ImagesDir)
	have, err := os.ReadDir(images)
	if err != nil {
		return m, unusable("listing its files: %w", err)
	}
	if len(have) != len(m.Files) {
		return m, unusable("it has %d files, and its manifest names %d", len(have), len(m.Files))
	}
	return m, verifyFiles(images, m.Files)
}

// MemoryFiles are the files for VerifyMemory.
func (m *Manifest) MemoryFiles() []File {
	var files []File
	for _, f := range m.Files {
		if isPages(f.Name) {
			files = append(files, f)
		}
	}
	return files
}

// write writes the manifest into dir, synced.
func (m *Manifest) write(dir string) error {
	b, err := json.Marshal(m) // not for people: a wake reads it
	if err != nil {
		return fmt.Errorf("encoding the manifest of a checkpoint: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, ManifestFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("writing the manifest of a checkpoint: %w", err)
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing the manifest of a checkpoint: %w", err)
	}
	return nil
}
