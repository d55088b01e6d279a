package image_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/image/build"
)

func linkCount(fi fs.FileInfo) string {
	return strconv.FormatUint(uint64(fi.Sys().(*syscall.Stat_t).Nlink), 10) //nolint:unconvert // 32 bits wide on arm64
}

// xattrs lists the names of a file's extended attributes; a missing file has
// none.
func xattrs(t testing.TB, path string) []string {
	t.Helper()
	buf := make([]byte, 4096)
	n, err := unix.Llistxattr(path, buf)
	if err == unix.ENOENT {
		return nil
	} else if err != nil {
		t.Fatalf("xattrs of %s: %v", path, err)
	}
	return strings.FieldsFunc(string(buf[:n]), func(r rune) bool { return r == 0 })
}

// layoutOfTar makes a layout with one uncompressed layer of these bytes.
func layoutOfTar(t testing.TB, raw []byte) string {
	t.Helper()
	img, err := build.Image(build.Config{})
	if err == nil {
		img, err = mutate.AppendLayers(img, static.NewLayer(raw, types.OCIUncompressedLayer))
	}
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "layout")
	l, err := layout.Write(dir, empty.Index)
	if err == nil {
		err = l.AppendImage(img)
	}
	if err != nil {
		t.Fatal(err)
	}
	return "oci:" + dir
}

// sparseBomb is a tar of some hundred bytes with a file of 4 EiB that is all
// hole (PAX sparse format 0.1).
func sparseBomb() []byte {
	const size = 1 << 62
	record := func(k, v string) string {
		s := fmt.Sprintf(" %s=%s\n", k, v)
		n := len(s) + 1
		for len(strconv.Itoa(n))+len(s) != n {
			n = len(strconv.Itoa(n)) + len(s)
		}
		return strconv.Itoa(n) + s
	}
	pax := record("GNU.sparse.major", "0") + record("GNU.sparse.minor", "1") + record("GNU.sparse.name", "bomb") +
		record("GNU.sparse.size", strconv.Itoa(size)) + record("GNU.sparse.numblocks", "0") + record("GNU.sparse.map", "")
	var buf bytes.Buffer
	buf.Write(header("pax", 'x', len(pax)))
	buf.WriteString(pax + strings.Repeat("\x00", 512-len(pax)%512))
	buf.Write(header("bomb", tar.TypeReg, 0))
	buf.Write(make([]byte, 1024))
	return buf.Bytes()
}

// header is a raw ustar header, which archive/tar's writer would not write.
func header(name string, typ byte, size int) []byte {
	b := make([]byte, 512)
	copy(b, name)
	copy(b[100:], "0000644\x00")
	copy(b[108:], "0000000\x00")
	copy(b[116:], "0000000\x00")
	copy(b[124:], fmt.Sprintf("%011o\x00", size))
	copy(b[136:], "00000000000\x00")
	copy(b[148:], "        ")
	b[156] = typ
	copy(b[257:], "ustar\x0000")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

func owner(fi fs.FileInfo) (uid, gid uint32) {
	st := fi.Sys().(*syscall.Stat_t)
	return st.Uid, st.Gid
}
