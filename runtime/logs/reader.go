package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// All is the Tail that gives every line.
const All = -1

// ReadOptions say which lines to read.
type ReadOptions struct {
	// Tail is how many of the last lines are given first. All gives every one,
	// 0 none.
	Tail int
	// Since leaves out what is older; the zero value leaves out nothing.
	Since time.Time
	// Replica leaves out the lines of others; "" leaves out nothing.
	Replica string
	// Follow goes on with new lines until the context ends.
	Follow bool
}

// Read gives the lines of the site's log in dir, oldest first. Lines that are
// not in the format (a machine that lost power may leave such) are passed over.
// A log that does not exist yet is empty, and can be followed. The end of ctx
// ends following without an error; an error of emit ends reading with it.
func Read(ctx context.Context, dir string, opts ReadOptions, emit func(Line) error) error {
	var watch *watcher
	if opts.Follow {
		var err error
		// Before anything is read, so that nothing is missed between.
		if watch, err = watchDir(dir); err != nil {
			return err
		}
		defer watch.Close() // an inotify descriptor
	}
	r := &reader{dir: dir, since: opts.Since, replica: opts.Replica, emit: emit}
	defer r.close()
	if err := r.past(ctx, opts.Tail); err != nil || !opts.Follow {
		return err
	}
	return r.follow(ctx, watch)
}

type reader struct {
	dir     string
	since   time.Time
	replica string
	emit    func(Line) error

	current *file // output.log
	rotated *file // what it was before: a monitor may have been just appending
}

// file is a file being read, with the part of a line that was read last.
type file struct {
	*os.File
	rest []byte
}

func (r *reader) close() {
	for _, f := range []*file{r.current, r.rotated} {
		if f != nil {
			_ = f.Close() // read only
		}
	}
}

// past gives what is in the log now, and leaves the current file open at its
// end.
func (r *reader) past(ctx context.Context, tail int) error {
	files, err := r.open()
	if err != nil {
		return err
	}
	defer func() {
		for _, f := range files {
			if f != r.current {
				_ = f.Close() // read only
			}
		}
	}()
	var keep []Line // the last ones, in order
	if tail == All {
		for _, f := range files {
			if err := r.drain(ctx, f, r.emit); err != nil {
				return err
			}
		}
		return nil
	}
	for _, f := range slices.Backward(files) {
		var lines []Line
		err := r.drain(ctx, f, func(l Line) error {
			lines = append(lines, l)
			return nil
		})
		if err != nil {
			return err
		}
		keep = append(lines, keep...)
		if len(keep) >= tail {
			break
		}
	}
	for _, l := range keep[max(0, len(keep)-tail):] {
		if err := r.emit(l); err != nil {
			return err
		}
	}
	return nil
}

// open opens the files of the log, oldest first, each once even if a monitor
// rotates meanwhile. The last one becomes r.current, if there is a current one.
func (r *reader) open() ([]*file, error) {
	path := filepath.Join(r.dir, fileName)
	var files []*file
	add := func(name string) (bool, error) {
		f, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("open the log: %w", err)
		}
		for _, other := range files {
			if same(f, other.File) {
				return true, f.Close()
			}
		}
		files = append(files, &file{File: f})
		return true, nil
	}
	found, err := add(path)
	for i := 1; err == nil; i++ {
		var more bool
		if more, err = add(path + "." + strconv.Itoa(i)); !more {
			break
		}
	}
	slices.Reverse(files)
	if err != nil {
		for _, f := range files {
			_ = f.Close() // read only
		}
		return nil, err
	}
	if found {
		r.current = files[len(files)-1]
	}
	return files, nil
}

func same(a, b *os.File) bool {
	x, err1 := a.Stat()
	y, err2 := b.Stat()
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// drain reads f to its end and gives its whole lines.
func (r *reader) drain(ctx context.Context, f *file, emit func(Line) error) error {
	buf := make([]byte, 64<<10)
	for ctx.Err() == nil {
		n, err := f.Read(buf)
		f.rest = append(f.rest, buf[:n]...)
		for {
			text, after, found := bytes.Cut(f.rest, []byte("\n"))
			if !found {
				break
			}
			f.rest = after
			line, err := Parse(text)
			if err != nil || line.Time.Before(r.since) || (r.replica != "" && r.replica != line.Replica) {
				continue
			}
			if err := emit(line); err != nil {
				return err
			}
		}
		f.rest = append([]byte(nil), f.rest...) // let go of what was read
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
	}
	return context.Cause(ctx)
}

// follow gives new lines, until ctx ends: that is the normal end of following.
func (r *reader) follow(ctx context.Context, watch *watcher) error {
	for {
		err := r.news(ctx)
		if err == nil {
			err = watch.wait(ctx)
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // see above
		}
		if err != nil {
			return err
		}
	}
}

// news gives what has been appended, also across rotations.
func (r *reader) news(ctx context.Context) error {
	for {
		for _, f := range []*file{r.rotated, r.current} {
			if f == nil {
				continue
			}
			if err := r.drain(ctx, f, r.emit); err != nil {
				return err
			}
		}
		next, err := r.next()
		if err != nil || next == nil {
			return err
		}
		if r.rotated != nil {
			_ = r.rotated.Close() // read only
		}
		r.rotated, r.current = r.current, next
	}
}

// next opens the current file if it is another than the one that is open. A
// file that was rotated twice between two looks would be passed over; it holds
// megabytes, and each rotation wakes the reader.
func (r *reader) next() (*file, error) {
	f, err := os.Open(filepath.Join(r.dir, fileName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	if r.current != nil && same(f, r.current.File) {
		return nil, f.Close()
	}
	return &file{File: f}, nil
}
