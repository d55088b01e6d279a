package archive

import (
	"bytes"
	"fmt"
	"io"
)

// tail remembers the end of what was read. archive/tar takes an archive that was cut
// off between two entries for a whole one.
type tail struct {
	from io.Reader
	last []byte // the last two blocks
	read int64
	end  int64 // of the last entry
}

// entryRead notes where an entry ends, all of which was read.
func (t *tail) entryRead() { t.end = (t.read + block - 1) / block * block }

// Read implements io.Reader.
func (t *tail) Read(b []byte) (int, error) {
	n, err := t.from.Read(b)
	t.read += int64(n)
	t.last = append(t.last, b[:n]...)
	if more := len(t.last) - 2*block; more > 0 {
		t.last = append(t.last[:0], t.last[more:]...)
	}
	return n, err
}

// mostAfter bounds what may follow the end of an archive, in bytes: GNU tar fills up
// to a multiple of 10 KiB, or of what it was told.
const mostAfter = 1 << 20

// whole checks that the archive has an end, and reads what follows it.
func (t *tail) whole(entries int64) error {
	if t.read < t.end+2*block || !bytes.Equal(t.last, zeros[:2*block]) {
		return fmt.Errorf("%w: it is cut off after %d entries and %d bytes", ErrNoArchive, entries, t.read)
	}
	n, err := io.CopyN(io.Discard, t.from, mostAfter)
	if err == io.EOF { //nolint:errorlint // CopyN's own word
		return nil
	}
	if err == nil {
		err = fmt.Errorf("%w: more than %d bytes follow its end", ErrNoArchive, n)
	}
	return err
}
