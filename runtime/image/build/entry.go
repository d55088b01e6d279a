package build

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"
)

// Entry is one entry of a layer. Make it with [File], [FileFrom], [Dir],
// [Symlink], [Hardlink], [Whiteout], [Opaque] or [Raw], and change what they do
// not ask for with the With methods.
type Entry struct {
	header tar.Header
	data   []byte
	source string // a file that holds the data
}

func entry(typ byte, name string, mode fs.FileMode) Entry {
	return Entry{header: tar.Header{
		Typeflag: typ,
		Name:     strings.TrimPrefix(name, "/"),
		Mode:     tarMode(mode),
		ModTime:  time.Unix(0, 0),
		Format:   tar.FormatPAX,
	}}
}

// tarMode gives the mode bits as tar has them.
func tarMode(mode fs.FileMode) int64 {
	m := int64(mode.Perm())
	for bit, v := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if mode&bit != 0 {
			m |= v
		}
	}
	return m
}

// File is a regular file with the given content.
func File(name string, mode fs.FileMode, content []byte) Entry {
	e := entry(tar.TypeReg, name, mode)
	e.data = content
	return e
}

// FileFrom is a regular file with the content of a file of this machine, read
// when the image is made.
func FileFrom(name string, mode fs.FileMode, source string) Entry {
	e := entry(tar.TypeReg, name, mode)
	e.source = source
	return e
}

// Dir is a folder. Folders that are not listed are made by whoever unpacks the
// layer.
func Dir(name string, mode fs.FileMode) Entry {
	return entry(tar.TypeDir, strings.TrimSuffix(name, "/")+"/", mode)
}

// Symlink is a symbolic link to target, which is not looked at.
func Symlink(name, target string) Entry {
	e := entry(tar.TypeSymlink, name, 0o777)
	e.header.Linkname = target
	return e
}

// Hardlink is another name of the file target, of this layer or one below.
func Hardlink(name, target string) Entry {
	e := entry(tar.TypeLink, name, 0o644)
	e.header.Linkname = strings.TrimPrefix(target, "/")
	return e
}

// Whiteout removes name, which a layer below has.
func Whiteout(name string) Entry {
	return entry(tar.TypeReg, path.Join(path.Dir(name), ".wh."+path.Base(name)), 0)
}

// Opaque removes all that layers below have in the folder dir.
func Opaque(dir string) Entry {
	return entry(tar.TypeReg, path.Join(dir, ".wh..wh..opq"), 0)
}

// Raw is an entry with exactly this header, for what the other functions do not
// make.
func Raw(header tar.Header, content []byte) Entry {
	return Entry{header: header, data: content}
}

// WithOwner sets the numeric owner; else it is root.
func (e Entry) WithOwner(uid, gid int) Entry {
	e.header.Uid, e.header.Gid = uid, gid
	return e
}

// WithXattr adds an extended attribute.
func (e Entry) WithXattr(name, value string) Entry {
	records := map[string]string{"SCHILY.xattr." + name: value}
	for k, v := range e.header.PAXRecords {
		records[k] = v
	}
	e.header.PAXRecords = records
	return e
}

// WithModTime sets the modification time; else it is 1970.
func (e Entry) WithModTime(t time.Time) Entry {
	e.header.ModTime = t
	return e
}

// content opens the entry's data and gives its size (bytes).
func (e Entry) content() (io.ReadCloser, int64, error) {
	if e.source == "" {
		return io.NopCloser(bytes.NewReader(e.data)), int64(len(e.data)), nil
	}
	f, err := os.Open(e.source)
	if err != nil {
		return nil, 0, fmt.Errorf("content of %s: %w", e.header.Name, err)
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("content of %s: %s is not a regular file", e.header.Name, e.source)
	}
	if err != nil {
		_ = f.Close() // read only
		return nil, 0, err
	}
	return f, fi.Size(), nil
}
