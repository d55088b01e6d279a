package volume

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/file"
)

// keptDir has the snapshots that are kept, beside the volumes:
//
//	<dir>/.snapshots/SITE/NAME/SNAPSHOT/data         as the site saw it
//	<dir>/.snapshots/SITE/NAME/SNAPSHOT/volume.json  the volume's origin, and when it was taken
//
// They are made in .tmp and then renamed, as volumes are. They lie outside of the
// volumes' own folders, which a restore exchanges.
const keptDir = ".snapshots"

// MostSnapshots bounds those of one volume.
const MostSnapshots = 100

// What stands in the way of a snapshot that is to be kept.
var (
	ErrNoClones      = errors.New("the file system of the volumes cannot copy files by sharing their blocks, which snapshots need; xfs with reflinks and btrfs can")
	ErrNoSnapshot    = errors.New("no such snapshot")
	ErrSnapshotTaken = errors.New("there is a snapshot of that name")
	ErrManySnapshots = fmt.Errorf("it has %d snapshots, which is the most", MostSnapshots)
)

// Kept describes a snapshot.
type Kept struct {
	Name string
	Origin
}

func (s *Store) keptOf(site, name string) string { return filepath.Join(s.dir, keptDir, site, name) }

// MayKeep says whether a volume can have a snapshot of this name besides those that
// it has.
func (s *Store) MayKeep(site, name, snapshot string) error {
	have, err := s.Snapshots(site, name)
	switch {
	case err != nil:
		return err
	case slices.ContainsFunc(have, func(k Kept) bool { return k.Name == snapshot }):
		return ErrSnapshotTaken
	case len(have) >= MostSnapshots:
		return ErrManySnapshots
	}
	return nil
}

// Keep writes a copy of a volume through to the disk, and gives it a name: after a
// crash there is the whole snapshot, or none.
func (s *Store) Keep(n *Snapshot, site, name, snapshot string) error {
	if err := s.keep(n, site, name, snapshot); err != nil {
		return fmt.Errorf("keep snapshot %s of volume %s of site %s: %w", snapshot, name, site, err)
	}
	return nil
}

func (s *Store) keep(n *Snapshot, site, name, snapshot string) error {
	if err := finish(n.path, n.Origin); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return errors.New("the daemon is stopping")
	}
	if !s.Has(site, name) {
		return ErrNone // removed meanwhile
	}
	parent := s.keptOf(site, name)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	err := unix.Renameat2(unix.AT_FDCWD, n.path, unix.AT_FDCWD, filepath.Join(parent, snapshot), unix.RENAME_NOREPLACE)
	if errors.Is(err, fs.ErrExist) {
		return ErrSnapshotTaken
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: n.path, New: filepath.Join(parent, snapshot), Err: err}
	}
	return errors.Join(file.SyncDir(parent), file.SyncDir(filepath.Dir(parent)), file.SyncDir(filepath.Join(s.dir, keptDir)), file.SyncDir(s.dir))
}

// Snapshots gives those of a volume, the oldest first.
func (s *Store) Snapshots(site, name string) ([]Kept, error) {
	names, err := namesOf(s.keptOf(site, name))
	if err != nil {
		return nil, fmt.Errorf("list the snapshots of volume %s of site %s: %w", name, site, err)
	}
	out := make([]Kept, 0, len(names))
	for _, snapshot := range names {
		k := Kept{Name: snapshot}
		raw, err := file.Read(filepath.Join(s.keptOf(site, name), snapshot, recordFile), file.Small)
		if err == nil {
			err = json.Unmarshal(raw, &k.Origin)
		}
		if err != nil { // the data are what counts
			s.log.Warn("a snapshot's record cannot be read", "site", site, "volume", name, "snapshot", snapshot, "error", err)
		}
		out = append(out, k)
	}
	slices.SortStableFunc(out, func(a, b Kept) int { return a.Made.Compare(b.Made) })
	return out, nil
}

// StageSnapshot copies a snapshot to what is to take the place of its volume, and
// writes it through to the disk.
func (s *Store) StageSnapshot(ctx context.Context, site, name, snapshot string) (*Staged, error) {
	fail := func(err error) (*Staged, error) {
		return nil, fmt.Errorf("copy snapshot %s of volume %s of site %s: %w", snapshot, name, site, err)
	}
	have, err := s.Snapshots(site, name)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(have, func(k Kept) bool { return k.Name == snapshot })
	if at < 0 {
		return fail(ErrNoSnapshot)
	}
	from, err := OpenDir(filepath.Join(s.keptOf(site, name), snapshot, "data"))
	if err != nil {
		return fail(err)
	}
	defer from.Close() // a path descriptor
	aside, err := os.MkdirTemp(s.tmp, "restore-")
	if err != nil {
		return fail(err)
	}
	n, err := s.snapshot(ctx, from, aside)
	if err == nil && !sameDir(from, from.Name()) { // it was removed meanwhile, and is not all there may have been
		err = ErrNoSnapshot
	}
	if err != nil {
		s.discard(aside)
		return fail(err)
	}
	staged := &Staged{Dir: n.Dir, path: aside, s: s}
	if err := staged.Sync(have[at].Origin); err != nil {
		return fail(errors.Join(err, staged.Close()))
	}
	return staged, nil
}

// sameDir says whether an open folder is still what its path leads to.
func sameDir(dir *os.File, path string) bool {
	was, err := dir.Stat()
	if err != nil {
		return false
	}
	now, err := os.Lstat(path)
	return err == nil && os.SameFile(was, now)
}

// RemoveSnapshot removes one. It is gone when this returns; its disk is free a little
// later.
func (s *Store) RemoveSnapshot(site, name, snapshot string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.bury(filepath.Join(s.keptOf(site, name), snapshot))
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNoSnapshot
	}
	if err != nil {
		return fmt.Errorf("remove snapshot %s of volume %s of site %s: %w", snapshot, name, site, err)
	}
	return file.SyncDir(s.keptOf(site, name))
}

// bury takes a folder out of sight in one step, and removes it in the background.
// The caller has s.mu.
func (s *Store) bury(path string) error {
	grave, err := os.MkdirTemp(s.tmp, "gone-")
	if err != nil {
		return err
	}
	err = os.Rename(path, filepath.Join(grave, filepath.Base(path)))
	s.discard(grave)
	return err
}
