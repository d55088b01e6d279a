package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/volume"
)

// ErrHostile means that an entry of an archive would be written outside of the folder
// that it is unpacked into.
var ErrHostile = errors.New("it leads out of the folder that the archive is unpacked into")

// ErrNoArchive means that what was read is no whole tar archive.
var ErrNoArchive = errors.New("it is not a whole tar archive")

// Unpacking says how an archive is unpacked.
type Unpacking struct {
	// Owners are those of the namespace that the tree belongs to.
	Owners Owners
	// Keep gives each file the owner, the set-ID bits and the extended attributes that
	// the archive has for it. Without it a file that replaces another one has the owner
	// of that, and all others belong to root, or to whoever unpacks.
	Keep bool
	// UID and GID, if Chown is set, are the owner of all in the place of that.
	Chown    bool
	UID, GID int
	// Fresh says that the folder is new, and nobody else's: files are written in their
	// places. Else each is written aside and renamed.
	Fresh bool
}

// Unpack unpacks a tar archive at a path of a tree. Where that is a folder the entries
// are made in it; else what the archive has at its top, which must be one, gets this
// name in a folder that is there. Devices are left out. What was unpacked before an error
// stays.
func Unpack(ctx context.Context, r io.Reader, into Tree, at string, how Unpacking) (Result, error) {
	u := unpacker{ctx: ctx, in: &tail{from: r}, how: how}
	err := how.Owners.as(func() error {
		if err := u.begin(into, at); err != nil {
			return err
		}
		defer u.leave(0)
		err := u.all()
		if err == nil {
			err = u.finish(0)
		}
		return err
	})
	return u.result, err
}

type unpacker struct {
	ctx    context.Context //nolint:containedctx // of this one archive
	in     *tail
	how    Unpacking
	rename string   // of what is at the archive's top; empty: it keeps its name
	top    string   // what that is called in the archive
	open   []opened // the folders from the first one down to that of the last entry
	result Result
}

// opened is a folder that entries are made in.
type opened struct {
	path string // "." is the first
	dir  *os.File
	dev  uint64
	made *tar.Header // nil: it was there before
}

// begin opens the folder that all is made in.
func (u *unpacker) begin(into Tree, at string) error {
	h, err := into.find(at)
	switch {
	case err == nil && h.kind() == unix.S_IFDIR:
	case err == nil || errors.Is(err, unix.ENOENT):
		if err == nil {
			h.close()
		}
		if strings.HasSuffix(at, "/") || strings.HasSuffix(at, "/.") {
			return fmt.Errorf("%s: there is no such folder", at)
		}
		dir, name := path.Split(at)
		if name == "." || name == ".." || name == "" {
			return fmt.Errorf("%q does not say how a file is to be called", at)
		}
		if dir == "" {
			dir = "."
		}
		u.rename = name
		if h, err = into.find(dir); err != nil {
			return err
		}
		if h.kind() != unix.S_IFDIR {
			h.close()
			return &os.PathError{Op: "open", Path: dir, Err: unix.ENOTDIR}
		}
	default:
		return err
	}
	defer h.close()
	f, err := h.open(at)
	if err != nil {
		return err
	}
	u.open = []opened{{path: ".", dir: f, dev: h.st.Dev}}
	return nil
}

func (u *unpacker) all() error {
	r := tar.NewReader(u.in)
	for {
		if u.ctx.Err() != nil {
			return context.Cause(u.ctx)
		}
		hdr, err := r.Next()
		if errors.Is(err, io.EOF) {
			return u.in.whole(u.result.Files + u.result.Left)
		}
		if err == nil {
			err = u.entry(r, hdr)
		}
		if err == nil { // what was left out
			_, err = io.Copy(io.Discard, r)
		}
		u.in.entryRead()
		switch {
		case errors.Is(err, tar.ErrHeader), errors.Is(err, io.ErrUnexpectedEOF):
			return fmt.Errorf("%w: %w", ErrNoArchive, err)
		case err != nil:
			return err
		}
	}
}

// entry unpacks one. An archive may have a name several times: the last one counts.
func (u *unpacker) entry(r *tar.Reader, hdr *tar.Header) error {
	if hdr.Typeflag == tar.TypeXGlobalHeader { // as git has it; its name is no file's
		return nil
	}
	name, err := u.name(hdr.Name)
	if err != nil {
		return err
	}
	if hdr.Size > maxSize {
		return fmt.Errorf("%s: a file of %d bytes is more than a file can have", hdr.Name, hdr.Size)
	}
	switch hdr.Typeflag {
	case tar.TypeBlock, tar.TypeChar:
		u.result.skip(hdr.Name, "a device")
		return nil
	case tar.TypeDir, tar.TypeReg, tar.TypeGNUSparse, tar.TypeLink, tar.TypeSymlink, tar.TypeFifo:
	default:
		u.result.skip(hdr.Name, fmt.Sprintf("an entry of type %q", hdr.Typeflag))
		return nil
	}
	if name == "." {
		u.result.Files++
		if hdr.Typeflag == tar.TypeDir && u.how.Fresh {
			u.open[0].made = hdr
		}
		return nil
	}
	dir, base := path.Dir(name), path.Base(name)
	in, err := u.parent(dir)
	if err != nil {
		return err
	}
	switch hdr.Typeflag {
	case tar.TypeDir:
		err = u.enter(in, base, name, hdr)
	case tar.TypeLink:
		err = u.link(in, base, hdr)
	default:
		err = u.file(r, in, base, hdr)
	}
	if err != nil {
		return fmt.Errorf("unpack %s: %w", hdr.Name, err)
	}
	u.result.Files++
	return nil
}

// name gives the path at which an entry is made, below the folder that is unpacked into.
func (u *unpacker) name(in string) (string, error) {
	for part := range strings.SplitSeq(in, "/") {
		if part == ".." {
			return "", fmt.Errorf("unpack %s: %w", in, ErrHostile)
		}
	}
	name := path.Clean(strings.TrimLeft(in, "/"))
	if u.rename == "" {
		return name, nil
	}
	first, rest, _ := strings.Cut(name, "/")
	if u.top == "" {
		u.top = first
	}
	if first != u.top && u.top != "." {
		return "", fmt.Errorf("the archive has both %s and %s at its top, and there is no folder to unpack them into", u.top, first)
	}
	if u.top == "." {
		rest = name
	}
	return path.Join(u.rename, rest), nil
}

// parent opens the folder at a path, and makes it where it is missing. What an earlier
// entry has put there is used only if it is a folder: no link is followed.
func (u *unpacker) parent(dir string) (*opened, error) {
	keep := len(u.open)
	for keep > 1 && !volume.Within(dir, u.open[keep-1].path) {
		keep--
	}
	if err := u.finish(keep); err != nil {
		return nil, err
	}
	last := &u.open[len(u.open)-1]
	for last.path != dir {
		rest := dir
		if last.path != "." {
			rest = strings.TrimPrefix(dir, last.path+"/")
		}
		next, _, _ := strings.Cut(rest, "/")
		if err := u.enter(last, next, path.Join(last.path, next), nil); err != nil {
			return nil, fmt.Errorf("unpack %s: %w", dir, err)
		}
		last = &u.open[len(u.open)-1]
	}
	return last, nil
}

// enter opens a folder in the last one, and makes it if there is none.
func (u *unpacker) enter(in *opened, name, full string, hdr *tar.Header) error {
	if len(u.open) > volume.MaxDepth {
		return fmt.Errorf("folders are nested deeper than %d", volume.MaxDepth)
	}
	err := unix.Mkdirat(int(in.dir.Fd()), name, 0o700)
	made := err == nil
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return os.NewSyscallError("mkdirat", err)
	}
	h, err := look(int(in.dir.Fd()), name, in.dev)
	if err != nil {
		return err
	}
	defer h.close()
	if h.kind() != unix.S_IFDIR {
		return errors.New("something that is no folder is in the way, and links are not followed")
	}
	f, err := h.open(full)
	if err != nil {
		return err
	}
	o := opened{path: full, dir: f, dev: h.st.Dev}
	if made && hdr == nil {
		hdr = &tar.Header{Mode: 0o755}
	}
	if made || u.how.Fresh { // a fresh one may be in the archive twice
		o.made = hdr
	}
	if o.made != nil {
		err = u.give(f, hdr, nil)
	}
	if err == nil && o.made != nil {
		err = f.Chmod(os.FileMode(hdr.Mode&0o777 | 0o700)) // what it is to have in the end may not let us in
	}
	if err != nil {
		_ = f.Close() // read only
		return err
	}
	u.open = append(u.open, o)
	return nil
}

// finish closes folders, those further down first, and gives those that were made the
// mode and the time that they are to have.
func (u *unpacker) finish(keep int) error {
	for len(u.open) > keep {
		last := u.open[len(u.open)-1]
		var err error
		if hdr := last.made; hdr != nil {
			if last.path == "." {
				err = u.give(last.dir, hdr, nil)
			}
			if err == nil {
				err = u.mode(last.dir, hdr)
			}
			if err == nil && !hdr.ModTime.IsZero() {
				err = setTime(int(last.dir.Fd()), hdr)
			}
		}
		u.leave(len(u.open) - 1)
		if err != nil {
			return fmt.Errorf("unpack %s: %w", last.path, err)
		}
	}
	return nil
}

// leave closes folders.
func (u *unpacker) leave(keep int) {
	for len(u.open) > keep {
		_ = u.open[len(u.open)-1].dir.Close() // read only
		u.open = u.open[:len(u.open)-1]
	}
}

// file makes what is no folder and no further name of a file.
func (u *unpacker) file(r io.Reader, in *opened, base string, hdr *tar.Header) error {
	dir := int(in.dir.Fd())
	old, err := u.replaced(dir, base)
	if err != nil {
		return err
	}
	return u.inPlace(dir, base, func(name string) error {
		switch hdr.Typeflag {
		case tar.TypeSymlink:
			if err := unix.Symlinkat(hdr.Linkname, dir, name); err != nil {
				return err
			}
			return u.giveLinkOrFIFO(dir, name, hdr)
		case tar.TypeFifo:
			if err := unix.Mknodat(dir, name, unix.S_IFIFO|0o600, 0); err != nil {
				return err
			}
			return u.giveLinkOrFIFO(dir, name, hdr)
		}
		return u.regular(r, dir, name, hdr, old)
	})
}

// replaced is what lies where a file is to be; nil: nothing.
func (u *unpacker) replaced(dir int, name string) (*unix.Stat_t, error) {
	var st unix.Stat_t
	err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil, nil
	case err != nil:
		return nil, err
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return nil, errors.New("a folder is in the way")
	}
	return &st, nil
}

// inPlace has something made and gives it its name, whatever had that before.
func (u *unpacker) inPlace(dir int, name string, makeIt func(name string) error) error {
	aside := name
	if !u.how.Fresh {
		aside = ".fcnode-" + rand.Text()
	} else if err := unix.Unlinkat(dir, name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	err := makeIt(aside)
	if err == nil && aside != name {
		err = unix.Renameat(dir, aside, dir, name)
	}
	if aside != name { // after a rename nothing is there, but for a second name of the same file
		if left := unix.Unlinkat(dir, aside, 0); err == nil && left != nil && !errors.Is(left, unix.ENOENT) {
			err = left
		}
	}
	return err
}

func (u *unpacker) regular(r io.Reader, dir int, name string, hdr *tar.Header, old *unix.Stat_t) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if err := f.Truncate(hdr.Size); err != nil { // before all is read, if there is no room for such a file anyway
		return err
	}
	if err := u.write(f, r, hdr.Size); err != nil {
		return err
	}
	if err := u.give(f, hdr, old); err != nil {
		return err
	}
	if err := u.mode(f, hdr); err != nil {
		return err
	}
	if err := setTime(fd, hdr); err != nil {
		return err
	}
	return f.Close()
}

var zeros [piece]byte

// write writes a file's data and leaves out what is zeros, so that holes are holes.
func (u *unpacker) write(f *os.File, r io.Reader, size int64) error {
	buf := make([]byte, min(piece, size))
	for at := int64(0); at < size; {
		if u.ctx.Err() != nil {
			return context.Cause(u.ctx)
		}
		n, err := io.ReadFull(r, buf[:min(int64(len(buf)), size-at)])
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNoArchive, err)
		}
		if !bytes.Equal(buf[:n], zeros[:n]) {
			if _, err := f.WriteAt(buf[:n], at); err != nil {
				return err
			}
			u.result.Bytes += int64(n)
		}
		at += int64(n)
	}
	return nil
}

// link makes a further name of a file that the archive has had before.
func (u *unpacker) link(in *opened, base string, hdr *tar.Header) error {
	to, err := u.name(hdr.Linkname)
	if err != nil {
		return err
	}
	first := int(u.open[0].dir.Fd())
	above, err := volume.OpenIn(first, path.Dir(to), unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return fmt.Errorf("open the folder of %s: %w", hdr.Linkname, err)
	}
	defer unix.Close(above)
	st, err := u.replaced(above, path.Base(to))
	if err == nil && (st == nil || st.Mode&unix.S_IFMT != unix.S_IFREG) {
		err = fmt.Errorf("%s, of which it is a further name, is no regular file", hdr.Linkname)
	}
	if err != nil {
		return err
	}
	dir := int(in.dir.Fd())
	old, err := u.replaced(dir, base)
	if err != nil {
		return err
	}
	if old != nil && old.Dev == st.Dev && old.Ino == st.Ino {
		return nil // it is a name of it
	}
	return u.inPlace(dir, base, func(name string) error { return unix.Linkat(above, path.Base(to), dir, name, 0) })
}
