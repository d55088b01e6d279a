package criu

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/fcnode/fcnode/runtime/file"
)

// castagnoli is a checksum that processors compute: an image is read in the
// middle of a wake.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// large is the size from which a file is read on a processor of its own.
const large = 1 << 20

// piece is how much is read at once: it is still in the processor's cache when
// the checksum is made of it.
const piece = 128 << 10

// sum gives the record of a file.
func sum(dir, name string, sync bool) (File, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return File{}, err
	}
	defer f.Close() // read only
	st, err := f.Stat()
	if err != nil {
		return File{}, err
	}
	rec := File{Name: name}
	buf := make([]byte, min(st.Size()+1, piece)) // one more: the end is seen at once
	for err == nil {
		var n int
		n, err = f.Read(buf)
		rec.CRC = crc32.Update(rec.CRC, castagnoli, buf[:n])
		rec.Size += int64(n)
	}
	if !errors.Is(err, io.EOF) {
		return File{}, err
	}
	if sync {
		err = f.Sync()
	} else {
		err = nil
	}
	return rec, err
}

// stamp is the record of a file without a checksum.
func stamp(st os.FileInfo) File {
	rec := File{Name: st.Name(), Size: st.Size()}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		rec.Inode, rec.Changed = sys.Ino, sys.Ctim.Nano()
	}
	return rec
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
		st, err := e.Info()
		if err != nil {
			return nil, 0, 0, fmt.Errorf("reading an image: %w", err)
		}
		now := stamp(st)
		rec.Inode, rec.Changed = now.Inode, now.Changed
		files = append(files, rec)
		bytes += rec.Size
		if isPages(e.Name()) {
			memory += rec.Size
		}
	}
	return files, memory, bytes, file.SyncDir(dir)
}

func isPages(name string) bool { return strings.HasPrefix(name, "pages-") }

// verifyFiles compares files with their records: memory by its size, all else by its content.
func verifyFiles(dir string, want []File) error {
	for _, w := range want {
		if w.Name != filepath.Base(w.Name) {
			return unusable("its manifest names the file %q", w.Name)
		}
		var err error
		if isPages(w.Name) {
			_, err = sized(dir, w)
		} else {
			err = verifyFile(dir, w, false)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// VerifyMemory reports, as ErrUnusable, damage of the files of memory in a folder of images. It
// takes as long as CRIU does to copy them, and may run at the same time: RestoreOptions.Approve is the moment by which it
// has to be over. With lazy, which is for memory that is restored on demand, it reads only what somebody has touched.
func VerifyMemory(images string, want []File, lazy bool) error {
	errs := make([]error, len(want))
	var wg sync.WaitGroup
	for i, w := range want {
		check := func() { errs[i] = verifyFile(images, w, lazy) }
		if w.Size < large {
			check()
		} else {
			wg.Go(check)
		}
	}
	wg.Wait()
	return errors.Join(errs...)
}

// verifyFile compares a file with its record: by its content, unless unread
// and nobody has changed it.
func verifyFile(dir string, want File, unread bool) error {
	have, err := sized(dir, want)
	if err != nil {
		return err
	}
	have.CRC = want.CRC
	if unread && have == want {
		return nil
	}
	if have, err = sum(dir, want.Name, false); err != nil {
		return unusable("reading it: %w", err)
	}
	if have.Size != want.Size || have.CRC != want.CRC {
		return damaged(want)
	}
	return nil
}

// sized gives the record, without a checksum, of a file that has the right size.
func sized(dir string, want File) (File, error) {
	st, err := os.Lstat(filepath.Join(dir, want.Name))
	if err != nil {
		return File{}, unusable("looking at its files: %w", err)
	}
	if !st.Mode().IsRegular() || st.Size() != want.Size {
		return File{}, damaged(want)
	}
	return stamp(st), nil
}

func damaged(f File) error { return unusable("its file %s is damaged", f.Name) }
