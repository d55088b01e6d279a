package criu

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/file"
)

// ErrHeld means that somebody still needs the files of a checkpoint.
var ErrHeld = errors.New("the checkpoint is still in use")

// Hold keeps the folder of a checkpoint from being removed by discard, Sweep or
// Remove of any daemon, until the result is closed everywhere: it may be handed to
// other processes, and holds for as long as one of them lives. The lock is the
// kernel's (flock): the death of its last holder ends it, whatever killed it.
//
// A folder that is just being removed is one that is not there: os.ErrNotExist.
func Hold(dir string) (*os.File, error) {
	f, err := lock(dir, unix.LOCK_SH)
	if errors.Is(err, ErrHeld) {
		err = fmt.Errorf("holding checkpoint %s: it is being removed: %w", dir, os.ErrNotExist)
	}
	return f, err
}

// discard removes a folder that nobody holds, or is ErrHeld.
func discard(dir string) error {
	f, err := lock(dir, unix.LOCK_EX)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return os.Remove(dir) // no checkpoint, which nobody can hold
	}
	if err != nil {
		return err
	}
	defer f.Close() // ends the lock
	return file.RemoveAll(dir)
}

func lock(dir string, how int) (*os.File, error) {
	f, err := os.OpenFile(dir, unix.O_DIRECTORY|os.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("locking a checkpoint: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrHeld
		}
		return nil, errors.Join(fmt.Errorf("locking checkpoint %s: %w", dir, err), f.Close())
	}
	// It may have been removed, or taken, between the two steps.
	locked, err := f.Stat()
	if err == nil {
		var there os.FileInfo
		if there, err = os.Lstat(dir); err == nil && !os.SameFile(locked, there) {
			err = os.ErrNotExist
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking checkpoint %s: %w", dir, err), f.Close())
	}
	return f, nil
}
