package file

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Small bounds files that hold one record (bytes).
const Small = 16 << 20

// ErrDamaged means that what is at a path cannot be what fcnode has put there.
var ErrDamaged = errors.New("damaged")

// Read reads a regular file of at most the given number of bytes. Anything else
// at that path, a symbolic link too, is ErrDamaged; nothing is waited for.
func Read(path string, most int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) {
		return nil, fmt.Errorf("%s is %w: it is not a regular file", path, ErrDamaged)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() // read only
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := check(path, st, most); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return b, nil
}

// Check reports as ErrDamaged what is at path if it is neither missing nor a
// regular file (or a link to one) of at most the given number of bytes.
func Check(path string, most int64) error {
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(path); err != nil {
			return nil //nolint:nilerr // nothing is there
		}
		return fmt.Errorf("%s is %w: the symbolic link leads nowhere", path, ErrDamaged)
	}
	if errors.Is(err, unix.ELOOP) {
		return fmt.Errorf("%s is %w: the symbolic link leads to itself", path, ErrDamaged)
	}
	if err != nil {
		return err
	}
	return check(path, st, most)
}

func check(path string, st fs.FileInfo, most int64) error {
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s is %w: it is not a regular file but %s", path, ErrDamaged, st.Mode().Type())
	}
	if st.Size() > most {
		return fmt.Errorf("%s is %w: it has %d bytes, and at most %d are believed", path, ErrDamaged, st.Size(), most)
	}
	return nil
}

// Replace writes a file as a whole, or not at all. It is not synced: after a
// power cut an older one, or none, will do.
func Replace(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	temp := path + ".new"
	if errors.Is(Check(temp, Small), ErrDamaged) { // a FIFO would keep us for ever
		if err := os.RemoveAll(temp); err != nil {
			return err
		}
	}
	if err := os.WriteFile(temp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// CheckDir reports as ErrDamaged what is at path if it is neither missing nor a
// folder (or a link to one).
func CheckDir(path string) error {
	err := Check(path, 1<<62)
	switch st, statErr := os.Stat(path); {
	case statErr != nil:
		return err
	case st.IsDir():
		return nil
	default:
		return fmt.Errorf("%s is %w: it is not a folder but %s", path, ErrDamaged, st.Mode())
	}
}

// RemoveAll removes what is at path, with all below it. Where it should be in is
// no folder, there is nothing to remove: os.RemoveAll would open that, and wait
// for ever at a FIFO.
func RemoveAll(path string) error {
	if in, err := os.Stat(filepath.Dir(path)); err == nil && !in.IsDir() {
		return nil
	}
	return os.RemoveAll(path)
}

// kept is how many things a folder of quarantined ones holds: a fault that comes
// back at each start must not fill the disk.
const kept = 64

// Quarantine moves what is at path into the folder dir, which is made if need
// be, and returns its new place. The oldest things there are removed.
func Quarantine(path, dir string) (string, error) {
	if err := CheckDir(dir); errors.Is(err, ErrDamaged) {
		if err := os.Rename(dir, dir+"-"+rand.Text()); err != nil {
			return "", fmt.Errorf("quarantine %s: %w", path, err)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("quarantine %s: %w", path, err)
	}
	to := filepath.Join(dir, time.Now().UTC().Format("20060102T150405.000000000")+"-"+filepath.Base(path))
	err := os.Rename(path, to)
	if errors.Is(err, unix.EXDEV) { // behind a link to another disk
		to = path + ".quarantined-" + rand.Text()
		err = os.Rename(path, to)
	}
	if err != nil {
		return "", fmt.Errorf("quarantine %s: %w", path, err)
	}
	return to, prune(dir)
}

func prune(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list the quarantine: %w", err)
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, e := range entries[:max(0, len(entries)-kept)] {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("remove the oldest of the quarantine: %w", err)
		}
	}
	return nil
}
