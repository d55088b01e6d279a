package volume

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ID tells what lay at a path from what lies there later. Inode numbers are used
// again, so the time of birth counts where the file system knows it.
type ID struct {
	Dev   uint64 `json:"dev"`
	Inode uint64 `json:"inode"`
	Born  int64  `json:"born,omitempty"` // ns; 0: not known

	// Changed is when it, or for a folder the list of what is in it, was changed
	// last, in ns; 0: that is of no concern.
	Changed int64 `json:"changed,omitempty"`
}

// IsZero says that it is of nothing.
func (i ID) IsZero() bool { return i == ID{} }

// Is says whether two are of the same. The number of a file system without a
// device (btrfs, NFS) is another one when it is mounted again; the birth is not.
func (i ID) Is(other ID) bool {
	bornKnown := i.Born != 0 && other.Born != 0
	if i.Inode != other.Inode || bornKnown && i.Born != other.Born {
		return false
	}
	if i.Changed != 0 && other.Changed != 0 && i.Changed != other.Changed {
		return false
	}
	anonymous := unix.Major(i.Dev) == 0 && unix.Major(other.Dev) == 0
	return i.Dev == other.Dev || anonymous && bornKnown
}

// Identify says what an open file is. It asks no server.
func Identify(f *os.File) (ID, error) {
	id, _, err := identify(f)
	return id, err
}

// IdentifyContent says what an open file is, and its content. The kernel's clock
// for files ticks every few ms: what was changed a moment ago could change again
// without being seen, so it is taken for something that there is no more.
func IdentifyContent(f *os.File) (ID, error) {
	id, changed, err := identify(f)
	id.Changed = changed.UnixNano()
	if time.Since(changed) < changeTick {
		id.Changed--
	}
	return id, err
}

// changeTick is longer than any tick of the kernel's clock for files, 10 ms.
const changeTick = 20 * time.Millisecond

func identify(f *os.File) (ID, time.Time, error) {
	var st unix.Statx_t
	if err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_INO|unix.STATX_BTIME|unix.STATX_CTIME, &st); err != nil {
		return ID{}, time.Time{}, &os.PathError{Op: "statx", Path: f.Name(), Err: err}
	}
	id := ID{Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), Inode: st.Ino}
	if st.Mask&unix.STATX_BTIME != 0 {
		id.Born = st.Btime.Sec*int64(time.Second) + int64(st.Btime.Nsec)
	}
	return id, time.Unix(st.Ctime.Sec, int64(st.Ctime.Nsec)), nil
}

// Source is where a volume comes from, and what that was when it was mounted.
type Source struct {
	Path   string `json:"path"`
	Follow bool   `json:"follow,omitempty"` // it may be a link, to something below the folder that it is in
	Inside string `json:"inside,omitempty"` // what is meant of what lies there, by a path without links; "": itself
	Target string `json:"target"`           // where it is mounted
	Was    ID     `json:"was"`
	// Secret says that it is one, below the roots of secrets, and that its content
	// counts. Without a target it is in the environment.
	Secret bool `json:"secret,omitempty"`
}

// Open opens what the source is now.
func (s Source) Open(roots []string) (*os.File, error) { return s.open(roots, 0) }

func (s Source) open(roots []string, resolve uint64) (*os.File, error) {
	f, err := open(roots, s.Path, s.Follow, resolve)
	if err != nil || s.Inside == "" {
		return f, err
	}
	defer f.Close() // a path descriptor
	path := filepath.Join(s.Path, s.Inside)
	fd, err := openAny(int(f.Fd()), s.Inside, resolve|unix.RESOLVE_BENEATH)
	switch {
	case err != nil && s.Follow: // its own link is not what is in the way
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	case err != nil:
		return nil, explainUnless(resolve, path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// now identifies what the source is now.
func (s Source) now(roots []string, resolve uint64) (ID, error) {
	f, err := s.open(roots, resolve)
	if err != nil {
		return ID{}, err
	}
	defer f.Close()
	id, changed, err := identify(f)
	if s.Secret {
		id.Changed = changed.UnixNano()
	}
	return id, err
}

// resolveCached is RESOLVE_CACHED of openat2(2): EAGAIN instead of waiting for a
// disk or a server.
const resolveCached = 0x20

// mayWait says whether a file system may have to ask a server, or a process, for
// what a link says; those with a device do not.
func mayWait(dir int) bool {
	var st unix.Statx_t
	err := unix.Statx(dir, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, 0, &st)
	return err != nil || st.Dev_major == 0
}

// Bounds of Comparer.
const (
	patience = 100 * time.Millisecond // for disks, servers and the scheduler; what the kernel has in its caches takes microseconds
	mostSlow = 32                     // threads that may hang in a lookup at the same time, all sites together
)

// Comparer compares what sources are with what they were. Whoever waits for it is
// a visitor, so it is bounded in time, whatever disk or server the sources are on.
type Comparer struct {
	roots, secrets []string
	slow           chan struct{}
}

// NewComparer makes one for sources below roots, and secrets below others.
func NewComparer(roots, secrets []string) *Comparer {
	return &Comparer{roots: roots, secrets: secrets, slow: make(chan struct{}, mostSlow)}
}

// rootsOf are those that a source has to lie below.
func (c *Comparer) rootsOf(s Source) []string {
	if s.Secret {
		return c.secrets
	}
	return c.roots
}

// Changed says which of the sources is something else now; "": none. One that is
// not there, or cannot be looked at in time, counts as what it was: what has it
// mounted serves, and what would be started anew could not.
func (c *Comparer) Changed(sources []Source) (path string) {
	for i, s := range sources {
		id, err := s.now(c.rootsOf(s), resolveCached)
		if errors.Is(err, unix.EAGAIN) { // not all of the path is in memory
			return c.changedSlowly(sources[i:])
		}
		if err == nil && !id.Is(s.Was) {
			return s.Path
		}
	}
	return ""
}

// changedSlowly lets another thread look, as it may hang.
func (c *Comparer) changedSlowly(sources []Source) string {
	select {
	case c.slow <- struct{}{}:
	default:
		return "" // others hang already
	}
	found := make(chan string, 1)
	go func() {
		defer func() { <-c.slow }()
		for _, s := range sources {
			if id, err := s.now(c.rootsOf(s), 0); err == nil && !id.Is(s.Was) {
				found <- s.Path
				return
			}
		}
		found <- ""
	}()
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case path := <-found:
		return path
	case <-late.C:
		return ""
	}
}

// ErrOther means that a source is something else now than it was.
var ErrOther = errors.New("something else lies there now than when it was mounted")
