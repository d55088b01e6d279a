package image

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/continuity/fs"
	"github.com/containerd/log"
	"github.com/sirupsen/logrus"
	logrusslog "github.com/sirupsen/logrus/hooks/slog"
	"golang.org/x/sys/unix"
)

// Names of whiteouts in layers (image-spec, layer.md). AUFS's own files start
// with aufsPrefix.
const (
	whiteoutPrefix = ".wh."
	aufsPrefix     = ".wh..wh."
	opaqueName     = ".wh..wh..opq"
)

// applier is what happens to a layer's entries besides being written by
// containerd's archive package.
type applier struct {
	root   string
	below  merged
	most   *totals
	log    *slog.Logger
	parent string // the folder that was ensured last

	whiteouts []whiteout
	copied    map[string]struct{} // copied up for a hard link and not overwritten: relative paths
	devices   int                 // left out
	linkErr   error               // as it was before containerd wrapped it into talk of whiteouts
}

func newApplier(root string, below []string, most *totals, log *slog.Logger) *applier {
	return &applier{root: root, below: merged(below), most: most, log: log, copied: map[string]struct{}{}}
}

func (a *applier) options() []archive.ApplyOpt {
	opts := []archive.ApplyOpt{archive.WithFilter(a.filter), archive.WithConvertWhiteout(a.convert)}
	if os.Geteuid() != 0 {
		opts = append(opts, archive.WithNoSameOwner()) // as tar(1) does
	}
	return opts
}

// filter sees each entry before it is written; its name is already clean. It
// decides what is refused and what is left out, and prepares what containerd
// would not do.
func (a *applier) filter(hdr *tar.Header) (bool, error) {
	if err := a.most.take(hdr.Size); err != nil {
		return false, err
	}
	if climbs(hdr.Name) {
		return false, fmt.Errorf("%w: entry %q", ErrEscape, hdr.Name)
	}
	switch hdr.Typeflag {
	case tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeFifo:
	case tar.TypeGNUSparse:
		hdr.Typeflag = tar.TypeReg // the reader fills the holes
	case tar.TypeXGlobalHeader:
		return false, nil
	case tar.TypeChar, tar.TypeBlock:
		a.devices++
		return false, nil
	case tar.TypeLink:
		if climbs(hdr.Linkname) {
			return false, fmt.Errorf("%w: entry %q is a hard link to %q", ErrEscape, hdr.Name, hdr.Linkname)
		}
	default:
		return false, fmt.Errorf("%w: entry %q is of tar type %q", ErrUnsupported, hdr.Name, hdr.Typeflag)
	}
	base := filepath.Base(hdr.Name)
	if strings.HasPrefix(base, aufsPrefix) && base != opaqueName {
		return false, nil
	}
	if hidden, ok := strings.CutPrefix(base, whiteoutPrefix); ok && base != opaqueName && (hidden == "" || hidden == "." || hidden == "..") {
		return false, fmt.Errorf("%w: whiteout %q names nothing", ErrCorrupt, hdr.Name)
	}
	if err := a.fits(hdr); err != nil {
		return false, err
	}
	return true, a.ensureParents(filepath.Dir(hdr.Name))
}

// climbs tells whether a path leaves the folder that it is relative to. An
// absolute one is taken as relative to the root, as all tools do.
func climbs(name string) bool {
	if filepath.IsAbs(name) {
		return false
	}
	name = filepath.Clean(name)
	return name == ".." || strings.HasPrefix(name, "../")
}

// largeFile is the size (bytes) from which on an entry is compared with the
// free space before it is written: a sparse file of some bytes in the tar can
// claim exabytes.
const largeFile = 64 << 20

func (a *applier) fits(hdr *tar.Header) error {
	if hdr.Size < largeFile {
		return nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(a.root, &st); err != nil {
		return fmt.Errorf("ask for the free space of %s: %w", a.root, err)
	}
	if free := st.Bavail * uint64(st.Bsize); uint64(hdr.Size) > free {
		return fmt.Errorf("%w: file %q takes %d bytes, %d are free", ErrNoSpace, hdr.Name, hdr.Size, free)
	}
	return nil
}

// convert sees each entry when its folder exists. It keeps whiteouts for
// finish, makes hard links, and lets everything else be written.
func (a *applier) convert(hdr *tar.Header, path string) (bool, error) {
	rel, err := filepath.Rel(a.root, path)
	if err != nil {
		return false, err
	}
	dir, base := filepath.Split(rel)
	if hidden, ok := strings.CutPrefix(base, whiteoutPrefix); ok {
		if base == opaqueName {
			hidden = ""
		}
		a.whiteouts = append(a.whiteouts, whiteout{dir: filepath.Clean(dir), name: hidden})
		return false, nil
	}
	delete(a.copied, rel)
	if hdr.Typeflag == tar.TypeLink {
		a.linkErr = a.link(hdr, path)
		return false, a.linkErr
	}
	return true, nil
}

// ensureParents makes the folders of dir (relative to the root) that the layer
// did not list so far. They get owner, mode and xattrs of the folder which they
// will cover; overlayfs shows the top one's.
func (a *applier) ensureParents(dir string) error {
	if dir == a.parent {
		return nil
	}
	path, err := fs.RootPath(a.root, dir) // as containerd's Apply does: links stay inside
	if err != nil {
		return fmt.Errorf("folder %q: %w", dir, err)
	}
	rel, err := filepath.Rel(a.root, path)
	if err != nil {
		return err
	}
	done := a.root
	for part := range strings.SplitSeq(rel, "/") {
		if done = filepath.Join(done, part); done == a.root {
			continue
		}
		if err := a.ensureDir(done); err != nil {
			return classify(err)
		}
	}
	a.parent = dir
	return nil
}

func (a *applier) ensureDir(path string) error {
	if exists, err := isThere(path); exists || err != nil {
		return err
	}
	if err := a.most.take(0); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(path, 0o755); err != nil { // whatever the umask
		return err
	}
	rel, err := filepath.Rel(a.root, path)
	if err != nil {
		return err
	}
	found, ok, err := a.below.find(rel)
	if err != nil || !ok || !found.info.IsDir() {
		return err
	}
	return copyAttributes(path, found)
}

// finish does what has to come last, and reports what was left out.
func (a *applier) finish() error {
	if err := a.placeWhiteouts(); err != nil {
		return fmt.Errorf("place whiteouts: %w", classify(err))
	}
	if a.devices > 0 {
		a.log.Info("left device nodes out of an image layer; containers get a /dev of their own", "count", a.devices)
	}
	return nil
}

// withLogger sends what containerd's archive package logs (each xattr that it
// ignores, say) to l.
func withLogger(ctx context.Context, l *slog.Logger) context.Context {
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	logger.AddHook(logrusslog.NewHook(l.With("source", "archive"), nil))
	return log.WithLogger(ctx, logrus.NewEntry(logger))
}
