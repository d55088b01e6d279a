package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/file"
)

// ErrHeld means that a volume is being copied, or replaced.
var ErrHeld = errors.New("it is being filled, backed up or restored")

// ErrNoRoom means that the disk of the volumes has no room for a copy.
var ErrNoRoom = errors.New("there is not enough room on the disk of the volumes")

// Hold keeps a volume from being removed, replaced by others, and given to containers
// that are started, until release is called. There may be no such volume.
func (s *Store) Hold(site, name string) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := s.Path(site, name)
	if s.held[path] != nil || s.fills[path] != nil {
		return nil, fmt.Errorf("volume %s of site %s: %w", name, site, ErrHeld)
	}
	over := make(chan struct{})
	s.held[path] = over
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.held, path)
		close(over)
	}, nil
}

// waitFree waits until nobody holds a volume. The caller has s.mu.
func (s *Store) waitFree(ctx context.Context, path string) error {
	for s.held[path] != nil {
		over := s.held[path]
		s.mu.Unlock()
		var err error
		select {
		case <-over:
		case <-ctx.Done():
			err = fmt.Errorf("%w: %w", ErrHeld, context.Cause(ctx))
		}
		s.mu.Lock()
		if err != nil {
			return err
		}
	}
	return nil
}

// Snapshot is a copy of a volume. Close removes it.
type Snapshot struct {
	Dir    *os.File // with the folder's contents
	Origin Origin
	Files  int64
	Cloned int64 // bytes that share their blocks with the volume
	Copied int64 // bytes that were copied
	Left   int64 // devices and sockets, which were left out

	path string
	s    *Store
}

// Close removes the copy, in the background.
func (n *Snapshot) Close() error {
	err := n.Dir.Close()
	n.s.discard(n.path)
	return err
}

// Clones says whether files of the volumes can be copied by sharing their blocks.
func (s *Store) Clones() (bool, error) {
	dir, err := os.MkdirTemp(s.tmp, "probe-")
	if err != nil {
		return false, fmt.Errorf("make a file beside the volumes: %w", err)
	}
	defer os.RemoveAll(dir) // what is left goes when the next daemon starts
	const least = 1 << 16   // a block of any file system
	if err := os.WriteFile(filepath.Join(dir, "a"), make([]byte, least), 0o600); err != nil {
		return false, err
	}
	a, err := os.Open(filepath.Join(dir, "a"))
	if err != nil {
		return false, err
	}
	defer a.Close()
	b, err := os.Create(filepath.Join(dir, "b"))
	if err != nil {
		return false, err
	}
	defer b.Close()
	return unix.IoctlFileClone(int(b.Fd()), int(a.Fd())) == nil, nil
}

// Sync writes all that the disk of the volumes has not got yet.
func (s *Store) Sync() error {
	if err := syncDisk(s.dir); err != nil {
		return fmt.Errorf("write the volumes through to the disk: %w", err)
	}
	return nil
}

// spared is the part of the disk that a copy leaves free: one in so many.
const spared = 20

// Room says whether so many bytes can be copied beside the volumes, with a part of the
// disk left for their sites.
func (s *Store) Room(bytes int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(s.tmp, &st); err != nil {
		return &os.PathError{Op: "statfs", Path: s.tmp, Err: err}
	}
	free, keep := int64(st.Bavail)*st.Bsize, int64(st.Blocks)*st.Bsize/spared
	if bytes > free-keep {
		return fmt.Errorf("%w: %d bytes are to be copied, %d are free, of which %d stay so", ErrNoRoom, bytes, free, keep)
	}
	return nil
}

// Snapshot copies a volume that is kept by Hold, and that nobody writes to.
func (s *Store) Snapshot(ctx context.Context, site, name string) (*Snapshot, error) {
	fail := func(err error) (*Snapshot, error) {
		return nil, fmt.Errorf("copy volume %s of site %s: %w", name, site, err)
	}
	from, err := OpenDir(s.Path(site, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("volume %s of site %s: %w", name, site, ErrNone)
	}
	if err != nil {
		return fail(err)
	}
	defer from.Close() // a path descriptor
	aside, err := os.MkdirTemp(s.tmp, "snapshot-")
	if err != nil {
		return fail(err)
	}
	n, err := s.snapshot(ctx, from, aside)
	if err != nil {
		s.discard(aside)
		return fail(err)
	}
	n.Origin = s.info(site, name).Origin
	return n, nil
}

func (s *Store) snapshot(ctx context.Context, from *os.File, aside string) (*Snapshot, error) {
	to, err := openDirectory(unix.AT_FDCWD, aside)
	if err != nil {
		return nil, err
	}
	defer unix.Close(to)
	src, err := openDirectory(int(from.Fd()), ".")
	if err != nil {
		return nil, err
	}
	defer unix.Close(src)
	c := copier{ctx: ctx, top: to, name: "data", links: map[inode]string{}, clone: true}
	if err := c.folder(src, to, "data", "", 0); err != nil {
		return nil, err
	}
	dir, err := os.Open(filepath.Join(aside, "data"))
	if err != nil {
		return nil, err
	}
	return &Snapshot{Dir: dir, Files: c.files, Cloned: c.cloned, Copied: c.copied, Left: c.left, path: aside, s: s}, nil
}

// Staged is what is to take the place of a volume.
type Staged struct {
	Dir  *os.File // to be filled
	path string
	s    *Store
}

// Stage makes an empty folder for what is to become a volume.
func (s *Store) Stage() (*Staged, error) {
	aside, err := os.MkdirTemp(s.tmp, "restore-")
	if err != nil {
		return nil, fmt.Errorf("make a folder beside the volumes: %w", err)
	}
	data := filepath.Join(aside, "data")
	err = os.Mkdir(data, 0o755)
	var dir *os.File
	if err == nil {
		dir, err = os.Open(data)
	}
	if err != nil {
		s.discard(aside)
		return nil, fmt.Errorf("make a folder beside the volumes: %w", err)
	}
	return &Staged{Dir: dir, path: aside, s: s}, nil
}

// Close removes what is staged, or what it has replaced, in the background.
func (g *Staged) Close() error {
	err := g.Dir.Close()
	g.s.discard(g.path)
	return err
}

// Sync writes all to the disk, with a record of where it comes from.
func (g *Staged) Sync(from Origin) error { return finish(g.path, from) }

// Replace puts what is staged, and synced, in the place of a volume that is
// kept by Hold, in one step: after a crash there is the one or the other. Close removes the
// old one.
func (g *Staged) Replace(site, name string) error {
	err := g.replace(site, name)
	if err != nil {
		return fmt.Errorf("replace volume %s of site %s: %w", name, site, err)
	}
	return nil
}

func (g *Staged) replace(site, name string) error {
	s := g.s
	s.mu.Lock()
	defer s.mu.Unlock()
	parent, err := s.folderOf(site)
	if err != nil {
		return err
	}
	to := filepath.Join(parent, name)
	err = unix.Renameat2(unix.AT_FDCWD, g.path, unix.AT_FDCWD, to, unix.RENAME_EXCHANGE)
	switch {
	case errors.Is(err, unix.ENOENT):
		err = os.Rename(g.path, to)
	case errors.Is(err, unix.EINVAL):
		err = errors.New("the file system of the volumes cannot exchange two folders in one step; ext4, xfs and btrfs can")
	case err != nil:
		err = &os.LinkError{Op: "exchange", Old: g.path, New: to, Err: err}
	}
	return errors.Join(err, file.SyncDir(parent), file.SyncDir(s.dir), file.SyncDir(s.tmp))
}

// blocksOf is the disk that a file takes, in bytes.
func blocksOf(fi fs.FileInfo) int64 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return 0
}
