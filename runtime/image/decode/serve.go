package decode

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// maxWindow bounds the memory that decompressing a zstd layer takes (bytes):
// what `zstd --ultra --long` makes at most without a flag to read it.
const maxWindow = 128 << 20

// bufferSize is of what is read and written at once, in bytes.
const bufferSize = 256 << 10

// init makes the program the process that reads a layer if it was started as such,
// so that each program that unpacks images has one, of its own version.
func init() {
	if len(os.Args) == 1 && os.Args[0] == name {
		unix.Exit(serve()) // at once: os.Exit has a race detector look out for a second more
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
	a := &ahead{from: plain, to: bufio.NewWriterSize(struct{ io.Writer }{out}, bufferSize)}
	r := tar.NewReader(a)
	for err == nil {
		if _, err = r.Next(); err == nil || errors.Is(err, io.EOF) {
			err = errors.Join(a.release(), err)
		}
	}
	if !errors.Is(err, io.EOF) {
		return errors.Join(err, a.to.Flush())
	}
	if _, err := io.Copy(a.to, plain); err != nil { // the digest is that of all
		return err
	}
	return a.to.Flush()
}

// decompress recognises gzip and zstd by their magic numbers, as media types are often
// wrong.
func decompress(r io.Reader) (io.Reader, error) {
	b := bufio.NewReaderSize(r, bufferSize)
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

// ahead is a tar that is read here before it is read elsewhere. What the reader
// takes is held until it has made a header of it; what it skips, the content of files,
// goes by.
type ahead struct {
	from io.Reader
	to   *bufio.Writer
	held []byte
	at   int64
}

func (a *ahead) Read(p []byte) (int, error) {
	n, err := a.from.Read(p)
	a.held = append(a.held, p[:n]...)
	a.at += int64(n)
	return n, err
}

// Seek is how a reader of tars skips what it does not read.
func (a *ahead) Seek(n int64, from int) (int64, error) {
	if from != io.SeekCurrent || n < 0 {
		return 0, errors.ErrUnsupported
	}
	if err := a.release(); err != nil {
		return 0, err
	}
	copied, err := io.CopyN(a.to, a.from, n)
	a.at += copied
	if errors.Is(err, io.EOF) { // which the reader is about to meet
		err = nil
	}
	return a.at, err
}

// release writes what was held.
func (a *ahead) release() error {
	_, err := a.to.Write(a.held)
	a.held = a.held[:0]
	return err
}
