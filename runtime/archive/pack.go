package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/volume"
)

// Bounds of what is packed.
const (
	maxLinks  = 1 << 20 // files of which several names are kept together
	maxNames  = 20      // that a Result tells
	piece     = 1 << 16 // bytes that are copied at a time
	maxSize   = 1 << 44 // bytes of one file, holes included: what ext4 can keep
	maxXattrs = 1 << 19 // bytes of one file's extended attributes: archive/tar neither writes nor reads 1 MiB of PAX records
)

// Result says what was packed or unpacked.
type Result struct {
	Files int64 // entries of all kinds
	Bytes int64 // of regular files' data
	// Skipped are what was left out, each with the reason, the first few of them, and
	// Left is how many there were.
	Skipped []string
	Left    int64
}

func (r *Result) skip(name, why string) {
	r.Left++
	if len(r.Skipped) < maxNames {
		r.Skipped = append(r.Skipped, name+": "+why)
	}
}

// Pack writes what lies at a path of a tree as a tar archive in the PAX format, with
// holes as GNU tar has them. A folder is called as at names it, "." for its contents
// alone; "" is the last part of the path. Devices, sockets, and what is the kernel's are left out.
func Pack(ctx context.Context, w io.Writer, from Tree, at string, owners Owners, name string) (Result, error) {
	h, err := from.find(at)
	if err != nil {
		return Result{}, err
	}
	defer h.close()
	if name == "" {
		name = path.Base(path.Clean("/" + at))
	}
	if name == "/" || h.kind() == unix.S_IFDIR && strings.HasSuffix(at, "/.") {
		name = "."
	}
	p := packer{ctx: ctx, out: w, tar: tar.NewWriter(w), owners: owners, links: map[inode]string{}}
	switch h.kind() {
	case unix.S_IFDIR, unix.S_IFREG:
		err = p.entry(h, name, 0)
	default:
		err = fmt.Errorf("%s is neither a folder nor a regular file", at)
	}
	if err == nil {
		err = p.tar.Close()
	}
	return p.result, err
}

type packer struct {
	ctx    context.Context //nolint:containedctx // of this one archive
	out    io.Writer
	tar    *tar.Writer
	owners Owners
	links  map[inode]string // the first of several names of a file
	room   int              // for attributes of this entry, in bytes
	result Result
}

type inode struct{ dev, ino uint64 }

// entry packs one thing, and a folder with all that is in it.
func (p *packer) entry(h *handle, name string, depth int) error {
	if p.ctx.Err() != nil {
		return context.Cause(p.ctx)
	}
	hdr := &tar.Header{
		Name: name, Format: tar.FormatPAX, Mode: int64(h.st.Mode & 0o7777), ModTime: time.Unix(h.st.Mtim.Unix()),
		Uid: p.owners.inside(h.st.Uid), Gid: p.owners.inside(h.st.Gid),
	}
	switch h.kind() {
	case unix.S_IFDIR:
		return p.folder(h, hdr, depth)
	case unix.S_IFREG:
		return p.regular(h, hdr)
	case unix.S_IFLNK:
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(h.fd, "", buf)
		if err != nil {
			return &os.PathError{Op: "readlink", Path: name, Err: err}
		}
		hdr.Typeflag, hdr.Linkname = tar.TypeSymlink, string(buf[:n])
	case unix.S_IFIFO:
		hdr.Typeflag = tar.TypeFifo
	case unix.S_IFSOCK:
		p.result.skip(name, "a socket, which only its program can make")
		return nil
	default:
		p.result.skip(name, "a device")
		return nil
	}
	return p.header(hdr)
}

func (p *packer) header(hdr *tar.Header) error {
	if err := p.tar.WriteHeader(hdr); err != nil {
		return fmt.Errorf("pack %s: %w", hdr.Name, err)
	}
	p.result.Files++
	return nil
}

func (p *packer) folder(h *handle, hdr *tar.Header, depth int) error {
	if depth > volume.MaxDepth {
		return fmt.Errorf("%s: folders are nested deeper than %d", hdr.Name, volume.MaxDepth)
	}
	name := hdr.Name
	dir, err := h.open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	hdr.Typeflag, hdr.Name = tar.TypeDir, name+"/"
	p.xattrs(dir, hdr)
	if err := p.header(hdr); err != nil {
		return err
	}
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, n := range names {
		if err := p.child(dir, h.st.Dev, n, name, depth); err != nil {
			return err
		}
	}
	return nil
}

// child packs what a folder has under a name, if it is still there.
func (p *packer) child(dir *os.File, dev uint64, name, in string, depth int) error {
	full := in + "/" + name
	h, err := look(int(dir.Fd()), name, dev)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil // gone meanwhile
	case errors.Is(err, ErrKernel):
		p.result.skip(full, "it is the kernel's")
		return nil
	case err != nil:
		return &os.PathError{Op: "open", Path: full, Err: err}
	}
	defer h.close()
	return p.entry(h, full, depth+1)
}

func (p *packer) regular(h *handle, hdr *tar.Header) error {
	hdr.Typeflag = tar.TypeReg
	id := inode{h.st.Dev, h.st.Ino}
	if first, ok := p.links[id]; ok && h.st.Nlink > 1 {
		hdr.Typeflag, hdr.Linkname = tar.TypeLink, first
		return p.header(hdr)
	}
	f, err := h.open(hdr.Name)
	if errors.Is(err, unix.EWOULDBLOCK) {
		p.result.skip(hdr.Name, "a program has a lease on it")
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if h.st.Nlink > 1 {
		if len(p.links) == maxLinks {
			return fmt.Errorf("%s: more than %d files have several names", hdr.Name, maxLinks)
		}
		p.links[id] = hdr.Name
	}
	p.xattrs(f, hdr)
	hdr.Size = h.st.Size
	if parts := dataOf(f, &h.st); parts != nil {
		return p.sparse(f, hdr, parts)
	}
	if err := p.header(hdr); err != nil {
		return err
	}
	return p.copy(p.tar, f, hdr.Name, extent{0, hdr.Size})
}

// copy copies a part of a file. What was cut off of it meanwhile is zeros.
func (p *packer) copy(to io.Writer, f *os.File, name string, part extent) error {
	buf := make([]byte, min(piece, part.size))
	for done := int64(0); done < part.size; {
		if p.ctx.Err() != nil {
			return context.Cause(p.ctx)
		}
		want := buf[:min(int64(len(buf)), part.size-done)]
		n, err := f.ReadAt(want, part.at+done)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read %s: %w", name, err)
		}
		clear(want[n:])
		if _, err := to.Write(want); err != nil {
			return err
		}
		done += int64(len(want))
	}
	p.result.Bytes += part.size
	return nil
}

const xattrKey = "SCHILY.xattr." // as GNU tar and libarchive call them

// xattrs adds those of an open file. One that cannot be read, or kept, is told, and left out.
func (p *packer) xattrs(f *os.File, hdr *tar.Header) {
	list := make([]byte, volume.MaxXattr)
	n, err := unix.Flistxattr(int(f.Fd()), list)
	if err != nil {
		if !errors.Is(err, unix.ENOTSUP) {
			p.result.skip(hdr.Name, "its extended attributes: "+err.Error())
		}
		return
	}
	var value []byte
	p.room = maxXattrs
	for name := range strings.SplitSeq(string(list[:n]), "\x00") {
		if !volume.KeptXattr(name) {
			continue
		}
		if value == nil {
			value = make([]byte, volume.MaxXattr)
		}
		size, err := unix.Fgetxattr(int(f.Fd()), name, value)
		switch {
		case errors.Is(err, unix.ENODATA): // gone
		case err != nil:
			p.result.skip(hdr.Name, "its attribute "+name+": "+err.Error())
		default:
			p.xattr(hdr, name, string(value[:size]))
		}
	}
}

// xattr adds one.
func (p *packer) xattr(hdr *tar.Header, name, value string) {
	size := len(xattrKey) + len(name) + len(value)
	switch {
	case strings.Contains(name, "="):
		p.result.skip(hdr.Name, "its attribute "+name+", as tar has no place for the name")
	case size > p.room:
		p.result.skip(hdr.Name, "its attribute "+name+", as it has too many")
	default:
		if hdr.PAXRecords == nil {
			hdr.PAXRecords = map[string]string{}
		}
		hdr.PAXRecords[xattrKey+name] = value
		p.room -= size
	}
}
