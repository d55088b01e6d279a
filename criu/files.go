//go:build linux

package criu

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// castagnoli is a checksum that processors compute: an image's memory is read
// in the middle of a wake.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const readBuffer = 1 << 20

// sum gives the record of a file.
func sum(dir, name string, sync bool) (File, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return File{}, err
	}
	defer f.Close() // read only
	rec := File{Name: name}
	rec.Size, err = zeroToEOF(f, make([]byte, readBuffer), func(b []byte) { rec.CRC = crc32.Update(rec.CRC, castagnoli, b) })
	if err == nil && sync {
		err = f.Sync()
	}
	return rec, err
}

// sumAll records, and syncs, the files of a folder.
func sumAll(dir string) (files []File, memory, bytes int64, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, 0, 0, fmt.Errorf("listing an image: %w", err)
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			return nil, 0, 0, fmt.Errorf("an image has something that is no file: %s", e.Name())
		}
		rec, err := sum(dir, e.Name(), true)
		if err != nil {
			return nil, 0, 0, fmt.Errorf("reading an image: %w", err)
		}
		files = append(files, rec)
		bytes += rec.Size
		if isPages(e.Name()) {
			memory += rec.Size
		}
	}
	return files, memory, bytes, syncDir(dir)
}

func isPages(name string) bool { return strings.HasPrefix(name, "pages-") }

// verifyFiles compares files with their records, the large ones side by side.
func verifyFiles(dir string, want []File) error {
	errs := make([]error, len(want))
	var wg sync.WaitGroup
	for i, w := range want {
		if w.Name != filepath.Base(w.Name) {
			return unusable("its manifest names the file %q", w.Name)
		}
		check := func() {
			switch have, err := sum(dir, w.Name, false); {
			case err != nil:
				errs[i] = unusable("reading it: %w", err)
			case have != w:
				errs[i] = unusable("its file %s is damaged", w.Name)
			}
		}
		if w.Size < readBuffer {
			check()
		} else {
			wg.Go(check)
		}
	}
	wg.Wait()
	return errors.Join(errs...)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("syncing a folder: %w", err)
	}
	defer d.Close() // a folder
	if err := d.Sync(); err != nil {
		return fmt.Errorf("syncing folder %s: %w", dir, err)
	}
	return nil
}
