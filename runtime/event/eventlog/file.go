package eventlog

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/file"
)

func (j *Log) current() string { return filepath.Join(j.dir, "events.jsonl") }

func (j *Log) previous() string { return filepath.Join(j.dir, "events.1.jsonl") }

// load reads what is there and opens the current file for appending.
func (j *Log) load() error {
	if _, err := j.read(j.previous()); err != nil {
		return err
	}
	good, err := j.read(j.current())
	if err != nil {
		return err
	}
	f, err := os.OpenFile(j.current(), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	// What follows the last whole line was cut short by a kill. Where nothing does, what
	// is reserved behind it stays.
	st, err := f.Stat()
	if err == nil && st.Size() != good {
		err = f.Truncate(good)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("cut off an unfinished line: %w", err), f.Close())
	}
	j.file, j.size = f, good
	return file.Reserve(f, j.opts.MaxSize)
}

// read remembers the events of a file and returns how many bytes of whole
// lines it has. Lines that cannot be read are passed over: a damaged line must
// not take the history behind it away.
func (j *Log) read(path string) (good int64, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return good, nil
		}
		if err != nil {
			return good, err
		}
		good += int64(len(line))
		var e event.Event
		if json.Unmarshal(bytes.TrimSpace(line), &e) == nil && e.Seq > j.seq {
			j.seq = e.Seq
			j.remember(e)
		}
	}
}

// write is the writer's.
func (j *Log) write(e event.Event) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode event %d (%s): %w", e.Seq, e.Kind, err)
	}
	line = append(line, '\n')
	if j.size+int64(len(line)) > j.opts.MaxSize && j.size > 0 {
		if err := j.rotate(); err != nil {
			return err
		}
	}
	if _, err := j.file.Write(line); err != nil {
		// The next line must not be glued to a half of this one.
		return errors.Join(fmt.Errorf("write event %d to %s: %w", e.Seq, j.current(), err), j.file.Truncate(j.size))
	}
	j.size += int64(len(line))
	return nil
}

func (j *Log) rotate() error {
	// It is not there if the last rotation got only half way.
	if err := os.Rename(j.current(), j.previous()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("rotate the event log: %w", err)
	}
	f, err := os.OpenFile(j.current(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("rotate the event log: %w", err)
	}
	old := j.file
	j.file, j.size = f, 0
	return errors.Join(old.Close(), file.Reserve(f, j.opts.MaxSize))
}
