package logs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	damage "github.com/fcnode/fcnode/runtime/file"
	"golang.org/x/sys/unix"
)

const (
	fileName = "output.log"
	lockName = ".lock"
)

// Options of a Writer.
type Options struct {
	// Replica is written into each line.
	Replica string
	// MaxSize is the size, in bytes, at which the log is rotated. 0 means 10 MiB.
	MaxSize int64
	// Files is how many files are kept, the current one included. 0 means 3.
	Files int
}

// Writer appends the output of one replica to its site's log. It is safe for
// use by several goroutines.
type Writer struct {
	dir  string
	opts Options

	mu      sync.Mutex
	file    *os.File
	buf     []byte
	dropped int // lines since the last one that could be written
}

// WithDefaults fills in what is 0.
func (o Options) WithDefaults() Options {
	if o.MaxSize <= 0 {
		o.MaxSize = 10 << 20
	}
	if o.Files <= 0 {
		o.Files = 3
	}
	return o
}

// OpenWriter opens the log in dir, and makes dir if need be.
func OpenWriter(dir string, opts Options) (*Writer, error) {
	if err := Prepare(dir); err != nil {
		return nil, err
	}
	w := &Writer{dir: dir, opts: opts.WithDefaults()}
	return w, w.open()
}

// Prepare makes dir if need be, and moves what is in the place of the log and is
// none out of the way.
func Prepare(dir string) error {
	if errors.Is(damage.CheckDir(dir), damage.ErrDamaged) {
		if _, err := damage.Quarantine(dir, filepath.Join(filepath.Dir(dir), quarantine)); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the log folder: %w", err)
	}
	return quarantineFile(dir)
}

// quarantineFile moves what is in the place of the log's file.
func quarantineFile(dir string) error {
	path := filepath.Join(dir, fileName)
	if !errors.Is(damage.Check(path, 1<<62), damage.ErrDamaged) {
		return nil
	}
	_, err := damage.Quarantine(path, filepath.Join(dir, quarantine))
	return err
}

func (w *Writer) path() string { return filepath.Join(w.dir, fileName) }

// quarantine is a folder for what is in the place of a log and is none: a FIFO
// would keep the site from starting. No site has such a name.
const quarantine = ".quarantine"

func (w *Writer) open() error {
	if err := quarantineFile(w.dir); err != nil {
		return err
	}
	f, err := os.OpenFile(w.path(), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	if w.file != nil {
		_ = w.file.Close() // appended to with write(2): nothing is buffered
	}
	w.file = f
	return nil
}

// Close closes the log.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.file.Close()
}

// Copy writes what r gives as lines of the stream, until r ends. It reads on
// when the log cannot be written (a full disk must not stop a site): such lines
// are counted, and the next one that can be written is preceded by a note.
func (w *Writer) Copy(stream string, r io.Reader) error {
	// The buffer holds the unfinished line; a full buffer is a part of one.
	buf := make([]byte, MaxLine)
	held := 0
	for {
		n, err := r.Read(buf[held:])
		held += n
		rest := w.lines(stream, buf[:held], err != nil)
		held = copy(buf, rest)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading %s of %s: %w", stream, w.opts.Replica, err)
		}
	}
}

// lines writes the whole lines in data, and at the end also the last, unfinished
// one. It returns what is left of data.
func (w *Writer) lines(stream string, data []byte, end bool) (rest []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	w.buf = w.buf[:0]
	count := 0
	emit := func(text []byte, partial bool) {
		w.buf = appendLine(w.buf, now, stream, w.opts.Replica, partial, text)
		count++
	}
	whole := len(data)
	for {
		text, after, found := bytes.Cut(data, []byte("\n"))
		if !found {
			break
		}
		emit(text, false)
		data = after
	}
	switch {
	case end && len(data) > 0:
		emit(data, false)
		data = nil
	case len(data) == whole && whole == MaxLine:
		emit(data, true)
		data = nil
	}
	if count > 0 {
		w.append(count, now)
	}
	return data
}

// append writes w.buf, which holds count lines.
func (w *Writer) append(count int, now time.Time) {
	if w.dropped > 0 {
		note := fmt.Appendf(nil, "fcnode: %d lines were lost: the log could not be written", w.dropped)
		w.buf = append(appendLine(nil, now, Stderr, w.opts.Replica, false, note), w.buf...)
	}
	err := w.makeRoom(int64(len(w.buf)))
	if err == nil {
		_, err = w.file.Write(w.buf)
	}
	if err != nil {
		w.dropped += count
		return
	}
	w.dropped = 0
}

// makeRoom makes sure that the file that is open is the current one and that n
// more bytes fit.
func (w *Writer) makeRoom(n int64) error {
	current, size, err := w.current()
	if err != nil {
		return err
	}
	if !current { // another monitor has rotated
		if err := w.open(); err != nil {
			return err
		}
		if _, size, err = w.current(); err != nil {
			return err
		}
	}
	if size == 0 || size+n <= w.opts.MaxSize {
		return nil
	}
	return w.rotate(n)
}

// current reports whether the open file is still the one of that name, and its size.
func (w *Writer) current() (bool, int64, error) {
	var open, named unix.Stat_t
	if err := unix.Fstat(int(w.file.Fd()), &open); err != nil {
		return false, 0, fmt.Errorf("fstat of the log: %w", err)
	}
	if err := unix.Stat(w.path(), &named); err != nil && !errors.Is(err, unix.ENOENT) {
		return false, 0, fmt.Errorf("stat of the log: %w", err)
	}
	return open.Ino == named.Ino && open.Dev == named.Dev, open.Size, nil
}

// rotate renames the files one up and starts a new one, unless another monitor
// has just done that.
func (w *Writer) rotate(n int64) error {
	lock, err := os.OpenFile(filepath.Join(w.dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("opening the lock of the log: %w", err)
	}
	defer lock.Close() // releases the lock
	if err := flock(lock); err != nil {
		return err
	}
	var named unix.Stat_t
	if err := unix.Stat(w.path(), &named); err == nil && named.Size > 0 && named.Size+n > w.opts.MaxSize {
		if err := w.shift(); err != nil {
			return err
		}
	}
	return w.open()
}

func (w *Writer) shift() error {
	name := func(i int) string { return w.path() + "." + strconv.Itoa(i) }
	if w.opts.Files == 1 {
		return os.Remove(w.path())
	}
	for i := w.opts.Files - 2; i >= 1; i-- {
		if err := os.Rename(name(i), name(i+1)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("rotating the log: %w", err)
		}
	}
	if err := os.Rename(w.path(), name(1)); err != nil {
		return fmt.Errorf("rotating the log: %w", err)
	}
	return nil
}

func flock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("locking %s: %w", f.Name(), err)
		}
		return nil
	}
}
