package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Swap is a file that was replaced, and can be put back.
type Swap struct {
	path, kept string
	had        bool
}

// What follows the name of a file in the names of those that a Swap makes beside
// it, which begin with a dot.
const (
	swapNew = ".fcnode-new"
	swapOld = ".fcnode-old"
)

// Put replaces a file durably, and as a whole: at any instant there is the old or
// the new one at path. It has the mode and owner of the old one, or the mode that
// is given. Undo needs no room on the disk. One caller at a time may do so in a
// folder.
func Put(path string, b []byte, mode fs.FileMode) (*Swap, error) {
	to, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		to, err = path, Check(path, 1<<62)
	}
	if err != nil {
		return nil, fmt.Errorf("replace %s: %w", path, err)
	}
	s := &Swap{path: to, kept: beside(to, swapOld)}
	if err := s.put(b, mode); err != nil {
		return nil, errors.Join(fmt.Errorf("replace %s: %w", path, err), s.Keep())
	}
	return s, nil
}

func beside(path, suffix string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+suffix)
}

func (s *Swap) put(b []byte, mode fs.FileMode) (err error) {
	fresh := beside(s.path, swapNew)
	for _, left := range []string{fresh, s.kept} {
		if err := os.Remove(left); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	uid, gid := -1, -1
	switch st, err := os.Stat(s.path); {
	case err == nil:
		if err := check(s.path, st, 1<<62); err != nil {
			return err
		}
		mode = st.Mode().Perm()
		if sys, ok := st.Sys().(*syscall.Stat_t); ok {
			uid, gid = int(sys.Uid), int(sys.Gid)
		}
		s.had = true
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(fresh) // gone if it has its name
		}
	}()
	if err := writeSynced(fresh, b, mode, uid, gid); err != nil {
		return err
	}
	if s.had {
		if err := os.Link(s.path, s.kept); err != nil {
			return err
		}
	}
	if err := os.Rename(fresh, s.path); err != nil {
		return err
	}
	if err := SyncDir(filepath.Dir(s.path)); err != nil {
		return errors.Join(err, s.Undo())
	}
	return nil
}

func writeSynced(path string, b []byte, mode fs.FileMode, uid, gid int) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil && uid >= 0 {
		err = f.Chown(uid, gid)
	}
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// SyncDir makes the names in a folder durable.
func SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Undo puts the old file back, or removes the new one if there was none.
func (s *Swap) Undo() error {
	var err error
	if s.had {
		err = os.Rename(s.kept, s.path)
	} else {
		err = os.Remove(s.path)
	}
	if err == nil {
		err = SyncDir(filepath.Dir(s.path))
	}
	if err != nil {
		return fmt.Errorf("put %s back: %w", s.path, err)
	}
	return nil
}

// Keep leaves the new file. It cannot be put back any more.
func (s *Swap) Keep() error {
	if err := os.Remove(s.kept); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove what was at %s before: %w", s.path, err)
	}
	return nil
}

// SweepSwaps removes from a folder what a killed process has left there of its
// Swaps. The files themselves are whole.
func SweepSwaps(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("sweep %s: %w", dir, err)
	}
	var errs []error
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") && (strings.HasSuffix(name, swapNew) || strings.HasSuffix(name, swapOld)) {
			errs = append(errs, os.Remove(filepath.Join(dir, name)))
		}
	}
	return errors.Join(errs...)
}
