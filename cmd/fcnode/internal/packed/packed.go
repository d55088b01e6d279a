// Package packed writes and reads archives that are compressed or not.
package packed

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Kinds are the ways to compress, as flags name them.
var Kinds = []string{"none", "gzip", "zstd"}

// KindOf gives the one that a file's name asks for; false: it is no archive's.
func KindOf(path string) (kind string, ok bool) {
	for _, k := range []struct{ kind, suffix string }{
		{"none", ".tar"}, {"gzip", ".tar.gz"}, {"gzip", ".tgz"}, {"zstd", ".tar.zst"}, {"zstd", ".tar.zstd"}, {"zstd", ".tzst"},
	} {
		if strings.HasSuffix(path, k.suffix) {
			return k.kind, true
		}
	}
	return "", false
}

// Writer compresses what is written to it. Close ends it and not what is behind it.
func Writer(w io.Writer, kind string) (io.WriteCloser, error) {
	switch kind {
	case "none":
		return nopCloser{w}, nil
	case "gzip":
		return gzip.NewWriter(w), nil
	case "zstd":
		return zstd.NewWriter(w)
	}
	return nil, fmt.Errorf("compress by %q: it is one of %s", kind, strings.Join(Kinds, ", "))
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// maxWindow bounds the memory that a stream may ask for.
const maxWindow = 128 << 20

// Reader reads an archive, however it is compressed: by how it begins, as names lie.
func Reader(r io.Reader) (io.ReadCloser, error) {
	in := bufio.NewReader(r)
	head, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzip.NewReader(in)
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(in, zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(in), nil
}

// File is one that is written aside, and has its name when it is complete.
type File struct {
	*os.File

	path string
}

// Create makes one that only its owner may read. It replaces nothing but a file.
func Create(path string) (*File, error) {
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return nil, err
	}
	return &File{f, path}, nil
}

// Done writes it through to the disk and gives it its name.
func (f *File) Done() error {
	err := f.Sync()
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = os.Rename(f.Name(), f.path)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(f.path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// Drop removes it, unless it is done.
func (f *File) Drop() {
	if f.Close() == nil { // it was not
		_ = os.Remove(f.Name()) // it is ours, and says so by its name
	}
}
