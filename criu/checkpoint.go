//go:build linux

package criu

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
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
}

// NewDraft begins a checkpoint that is to be at dir.
func NewDraft(dir string) (*Draft, error) {
	d := &Draft{place: dir, dir: sibling(dir, newPrefix, rand.Text())}
	if err := os.MkdirAll(filepath.Join(d.dir, ImagesDir), 0o700); err != nil {
		return nil, fmt.Errorf("making a folder for a checkpoint: %w", err)
	}
	return d, nil
}

func sibling(dir, prefix, name string) string { return filepath.Join(filepath.Dir(dir), prefix+name) }

// Images is where CRIU is to write its files.
func (d *Draft) Images() string { return filepath.Join(d.dir, ImagesDir) }

// Drop throws the draft away.
func (d *Draft) Drop() error { return os.RemoveAll(d.dir) }

// Finish writes the manifest and puts the checkpoint in its place; an earlier
// one there is removed. It is not complete before Complete.
func (d *Draft) Finish(m Manifest) (Manifest, error) {
	if err := os.Remove(filepath.Join(d.Images(), logFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return m, fmt.Errorf("tidying up a checkpoint: %w", err)
	}
	var err error
	m.Format, m.ID, m.Created = Format, rand.Text(), time.Now()
	if m.Files, m.Memory, m.Bytes, err = sumAll(d.Images()); err != nil {
		return m, err
	}
	if err := m.write(d.dir); err != nil {
		return m, err
	}
	if err := Remove(d.place); err != nil {
		return m, err
	}
	if err := os.Rename(d.dir, d.place); err != nil {
		return m, fmt.Errorf("putting a checkpoint in its place: %w", err)
	}
	return m, syncDir(filepath.Dir(d.place))
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

// Remove removes a checkpoint: all of it, or it is still there.
func Remove(dir string) error {
	spent, err := Consume(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.RemoveAll(spent); err != nil {
		return fmt.Errorf("removing a checkpoint: %w", err)
	}
	return nil
}

// Sweep removes what a crash has left in a folder of checkpoints. Call it before
// the first dump or restore of a node.
func Sweep(parent string) error {
	entries, err := os.ReadDir(parent)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for left-over checkpoints: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), newPrefix) || strings.HasPrefix(e.Name(), spentPrefix) {
			errs = append(errs, os.RemoveAll(filepath.Join(parent, e.Name())))
		}
	}
	return errors.Join(errs...)
}
