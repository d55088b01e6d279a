package criu

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fcnode/fcnode/runtime/file"
)

// Prefixes of folders that are on their way: a crash leaves them, Sweep removes
// them.
const (
	newPrefix   = ".new-"
	spentPrefix = ".spent-"
)

// Draft is a checkpoint that is being made.
type Draft struct {
	place string // where it is to be
	dir   string
	held  *os.File
}

// NewDraft begins a checkpoint that is to be at dir. Finish or Drop it.
func NewDraft(dir string) (*Draft, error) {
	for {
		d := &Draft{place: dir, dir: sibling(dir, newPrefix, rand.Text())}
		if err := os.MkdirAll(d.dir, 0o700); err != nil {
			return nil, fmt.Errorf("making a folder for a checkpoint: %w", err)
		}
		var err error
		if d.held, err = Hold(d.dir); errors.Is(err, os.ErrNotExist) {
			continue // swept before it was held
		} else if err != nil {
			return nil, err
		}
		if err := os.Mkdir(d.Images(), 0o700); err != nil {
			return nil, errors.Join(fmt.Errorf("making a folder for a checkpoint: %w", err), d.Drop())
		}
		return d, nil
	}
}

func sibling(dir, prefix, name string) string { return filepath.Join(filepath.Dir(dir), prefix+name) }

// Images is where CRIU is to write its files.
func (d *Draft) Images() string { return filepath.Join(d.dir, ImagesDir) }

// Share lets processes of any user read the image, as those of a user namespace do when they are restored. What is above its folder
// is entered by nobody but this process' user.
func (d *Draft) Share() error {
	files, err := os.ReadDir(d.Images())
	if err == nil {
		err = os.Chmod(d.Images(), 0o755)
	}
	for _, f := range files {
		err = errors.Join(err, os.Chmod(filepath.Join(d.Images(), f.Name()), 0o644))
	}
	if err != nil {
		return fmt.Errorf("letting processes of a user namespace read an image: %w", err)
	}
	return nil
}

// Drop throws the draft away.
func (d *Draft) Drop() error {
	err := file.RemoveAll(d.dir)
	_ = d.held.Close() // a folder
	return err
}

// Finish writes the manifest and puts the checkpoint in its place; an earlier
// one there is removed. It is not complete before Complete. After an error the
// draft is still to be dropped.
func (d *Draft) Finish(m Manifest) (Manifest, error) {
	if err := os.Remove(filepath.Join(d.Images(), logFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return m, fmt.Errorf("tidying up a checkpoint: %w", err)
	}
	var err error
	m.Format, m.ID, m.Created = Format, rand.Text(), time.Now()
	if m.Files, m.Memory, m.Bytes, err = sumAll(d.Images()); err != nil {
		return m, err
	}
	m.Processes = processes(m.Files)
	if err := m.write(d.dir); err != nil {
		return m, err
	}
	if err := Remove(d.place); err != nil {
		return m, err
	}
	if err := os.Rename(d.dir, d.place); err != nil {
		return m, fmt.Errorf("putting a checkpoint in its place: %w", err)
	}
	_ = d.held.Close() // a folder
	return m, file.SyncDir(filepath.Dir(d.place))
}

// Complete puts the writable layer of the replica whose processes were dumped
// into the checkpoint with that ID at dir. Call it when the processes have ended
// without having run again. Nothing happens if there is another checkpoint by
// now, or none.
func Complete(dir, id, upper string) error {
	if m, err := Read(dir); err == nil && m.ID == id {
		if err := os.Rename(upper, filepath.Join(dir, UpperDir)); err != nil {
			return fmt.Errorf("putting the writable layer into a checkpoint: %w", err)
		}
	}
	return nil
}

// Consume takes a checkpoint away from its place, so that it is not used
// again, and gives its new folder.
func Consume(dir string) (string, error) {
	spent := sibling(dir, spentPrefix, rand.Text())
	if err := os.Rename(dir, spent); err != nil {
		return "", fmt.Errorf("taking a checkpoint: %w", err)
	}
	return spent, nil
}

// Remove removes a checkpoint: when it returns nobody can restore it any more, or
// it is still there. What somebody still reads of it is left to a later Sweep.
func Remove(dir string) error {
	spent, err := Consume(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return Discard(spent)
}

// Discard removes what Consume gave, now or, if somebody still reads it, by a later Sweep.
func Discard(spent string) error {
	if err := discard(spent); err != nil && !errors.Is(err, ErrHeld) {
		return fmt.Errorf("removing a checkpoint: %w", err)
	}
	return nil
}

// List gives the names of the checkpoints in a folder of them, complete or not.
func List(parent string) ([]string, error) {
	entries, err := os.ReadDir(parent)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("looking for checkpoints: %w", err)
	}
	var names []string
	for _, e := range entries {
		if !onItsWay(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func onItsWay(name string) bool {
	return strings.HasPrefix(name, newPrefix) || strings.HasPrefix(name, spentPrefix)
}

// Sweep removes what a crash has left in a folder of checkpoints, at any time:
// what is being made or read is held by who does it, and stays. held is how many
// such there are: an earlier daemon's monitors remove theirs when they have read
// all, but for those that are killed meanwhile.
func Sweep(parent string) (held int, err error) {
	entries, err := os.ReadDir(parent)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("looking for left-over checkpoints: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if !onItsWay(e.Name()) {
			continue
		}
		switch err := discard(filepath.Join(parent, e.Name())); {
		case errors.Is(err, ErrHeld):
			held++
		case err != nil:
			errs = append(errs, err)
		}
	}
	return held, errors.Join(errs...)
}
