package decode

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds the memory that decompressing a zstd layer takes (bytes):
// what `zstd --ultra --long` makes at most without a flag to read it.
const maxWindow = 128 << 20

// init makes the program the process that reads a layer if it was started as such,
// so that each program that unpacks images has one, of its own version.
func init() {
	if len(os.Args) == 1 && os.Args[0] == name {
		os.Exit(serve())
	}
}

func serve() int {
	if err := confine(); err != nil {
		fmt.Fprintln(os.Stderr, "confine it:", err)
		return exitConfined
	}
	if err := pass(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitContent
	}
	return 0
}

// pass writes the tar that a blob holds, as far as it can be read.
func pass(in io.Reader, out io.Writer) error {
	plain, err := decompress(in)
	if err != nil {
		return err
	}
	a := &ahead{from: plain, to: out}
	r := tar.NewReader(a)
	for {
		hdr, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := a.read(hdr); err != nil {
			return err
		}
	}
	if err := a.write(len(a.held)); err != nil {
		return err
	}
	_, err = io.Copy(out, plain) // the digest is that of all
	return err
}

// decompress recognises gzip and zstd by their magic numbers, as media types are often
// wrong.
func decompress(r io.Reader) (io.Reader, error) {
	b := bufio.NewReaderSize(r, 128<<10)
	magic, err := b.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return gzip.NewReader(b)
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return zstd.NewReader(b, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderConcurrency(1)) // in this goroutine: there is one processor
	}
	return b, nil
}

// ahead is a tar that is read here before it is read elsewhere: what the reader has
// taken is held until it has made a header of it.
type ahead struct {
	from io.Reader
	to   io.Writer
	held []byte
	free int64 // of what is held, and comes next, that was read
}

// Sizes (bytes).
const (
	writeSize = 256 << 10 // from which on it is written
	// mostHeld is more than the largest header. What is longer and yet none is the
	// content of a sparse file.
	mostHeld = 4 << 20
)

func (a *ahead) Read(p []byte) (int, error) {
	n, err := a.from.Read(p)
	a.held = append(a.held, p[:n]...)
	size := int(min(a.free, int64(len(a.held))))
	if len(a.held) > mostHeld {
		size = len(a.held)
	}
	if size >= writeSize {
		if err := a.write(size); err != nil {
			return n, err
		}
	}
	return n, err
}

// read says that all that is held was read, up to this header.
func (a *ahead) read(hdr *tar.Header) error {
	a.free = int64(len(a.held))
	if sparse := hdr.Typeflag == tar.TypeGNUSparse || hdr.PAXRecords["GNU.sparse.major"] != "" || hdr.PAXRecords["GNU.sparse.size"] != ""; hdr.Typeflag == tar.TypeReg && !sparse {
		a.free += hdr.Size // which is what comes next
	}
	if len(a.held) >= writeSize {
		return a.write(len(a.held))
	}
	return nil
}

func (a *ahead) write(n int) error {
	if _, err := a.to.Write(a.held[:n]); err != nil {
		return err
	}
	a.free = max(0, a.free-int64(n))
	a.held = append(a.held[:0], a.held[n:]...)
	return nil
}
