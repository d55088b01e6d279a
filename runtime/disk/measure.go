package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrTooDeep means that folders are nested deeper than anybody measures.
var ErrTooDeep = errors.New("folders are nested too deep")

const (
	maxDepth = 1000
	// After so many entries a measuring pauses, so that it leaves the disk to
	// others: a hundred thousand entries a second.
	paceEntries = 1000
	pacePause   = 10 * time.Millisecond

	statBlock = 512 // bytes, in which blocks are counted
	statMask  = unix.STATX_BASIC_STATS | unix.STATX_BTIME
)

// Measure adds up what lies below folders, which tenants may change at any time,
// and stops as soon as it is over the limit. Nothing is followed, and what is
// gone meanwhile is not counted. A file of several names counts by a part with each of
// them.
func Measure(ctx context.Context, most Use, dirs ...string) (Use, error) {
	return (&measuring{ctx: ctx, most: most}).all(dirs)
}

// MeasureSince does so for the files that were made since a moment, and for those that
// were made or changed since. How much of an older file is new nobody knows.
func MeasureSince(ctx context.Context, since time.Time, dirs ...string) (made, changed Use, err error) {
	m := &measuring{ctx: ctx, since: since.Unix()}
	changed, err = m.all(dirs)
	return m.made.use(), changed, err
}

func (m *measuring) all(dirs []string) (Use, error) {
	for _, dir := range dirs {
		err := m.folder(unix.AT_FDCWD, dir, 0)
		if err != nil && !errors.Is(err, errOver) {
			return m.use(), fmt.Errorf("measure %s: %w", dir, err)
		}
	}
	return m.use(), nil
}

// errOver ends a measuring.
var errOver = errors.New("it is over the limit")

type measuring struct {
	ctx     context.Context //nolint:containedctx // of one call
	most    Use
	since   int64 // in seconds since 1970
	sum           // of what was changed since
	made    sum   // of what was made since
	entries int
}

// sum is a Use of parts of files.
type sum struct{ bytes, inodes float64 }

func (s sum) use() Use {
	return Use{Bytes: uint64(math.Round(s.bytes)), Inodes: uint64(math.Round(s.inodes))}
}

func (s *sum) add(st *unix.Statx_t, names float64) {
	s.bytes += float64(st.Blocks) * statBlock / names
	s.inodes += 1 / names
}

// folder measures one, by a descriptor: its path may be longer than the kernel takes.
func (m *measuring) folder(at int, name string, depth int) error {
	if depth > maxDepth {
		return ErrTooDeep
	}
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NOATIME, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil // gone, or something else by now
	}
	if err != nil {
		return os.NewSyscallError("openat", err)
	}
	dir := os.NewFile(uintptr(fd), name)
	defer dir.Close()
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, statMask, &st); err != nil {
		return os.NewSyscallError("statx", err)
	}
	if err := m.count(&st, 1); err != nil {
		return err
	}
	for {
		names, err := dir.Readdirnames(paceEntries)
		for _, entry := range names {
			if err := m.entry(fd, entry, depth); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (m *measuring) entry(dir int, name string, depth int) error {
	var st unix.Statx_t
	err := unix.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW, statMask, &st)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("statx", err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return m.folder(dir, name, depth+1)
	}
	return m.count(&st, max(1, float64(st.Nlink)))
}

// count adds a file of so many names.
func (m *measuring) count(st *unix.Statx_t, names float64) error {
	if st.Ctime.Sec >= m.since {
		m.add(st, names)
		if st.Mask&unix.STATX_BTIME == 0 || st.Btime.Sec >= m.since {
			m.made.add(st, names)
		}
	}
	if m.use().Over(m.most) {
		return errOver
	}
	if m.entries++; m.entries%paceEntries == 0 {
		select {
		case <-time.After(pacePause):
		case <-m.ctx.Done():
			return context.Cause(m.ctx)
		}
	}
	return nil
}

// Space is what a file system has.
type Space struct {
	Total, Free        uint64 // bytes
	Inodes, FreeInodes uint64 // of one that has a number of them, else 0
}

// SpaceOf gives that of a folder's file system, as those who are not root may use it.
func SpaceOf(dir string) (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Space{}, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return Space{
		Total: st.Blocks * uint64(st.Bsize), Free: st.Bavail * uint64(st.Bsize), Inodes: st.Files, FreeInodes: st.Ffree,
	}, nil
}
