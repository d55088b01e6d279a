package image

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"
)

// Limits bound what the unpacking of one image takes, all of its layers together.
// Zero fields bound nothing.
type Limits struct {
	Bytes   int64 // of its tars, and of the content of its files
	Entries int   // of its tars, and folders and files that are made for them
	Time    time.Duration
}

// Within has images refused that take more than these to unpack.
func Within(l Limits) Option { return func(s *Store) { s.limits = l } }

// within gives a context that ends when the time for unpacking an image is over.
func (l Limits) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if l.Time == 0 {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, l.Time, limitError("it is not unpacked after "+l.Time.String(), "time"))
}

// limitError says which limit, and how it is raised.
func limitError(what, key string) error {
	return fmt.Errorf("%w: %s; if it is to be trusted raise images.%s of the configuration", ErrLimit, what, key)
}

// totals are what an unpacking has taken so far.
type totals struct {
	Limits
	read    int64 // bytes of tars
	content int64 // bytes of files: a tar may say in a few how large one is
	entries int
}

// take counts one more entry, of so many bytes, before it is made.
func (t *totals) take(bytes int64) error {
	t.entries++
	if t.Entries > 0 && t.entries > t.Entries {
		return limitError("it has more than "+strconv.Itoa(t.Entries)+" files and folders", "entries")
	}
	if t.Bytes > 0 && (bytes < 0 || bytes > t.Bytes-t.content) {
		return t.tooLarge()
	}
	t.content += bytes
	return nil
}

func (t *totals) tooLarge() error {
	return limitError(fmt.Sprintf("it unpacks to more than %d bytes", t.Bytes), "bytes")
}

// reading counts the bytes of a tar.
func (t *totals) reading(r io.Reader) io.Reader { return &bounded{r, t} }

type bounded struct {
	io.Reader
	t *totals
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if b.t.read += int64(n); b.t.Bytes > 0 && b.t.read > b.t.Bytes {
		return n, b.t.tooLarge()
	}
	return n, err
}
