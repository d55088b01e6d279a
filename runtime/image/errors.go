package image

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// What callers can tell apart with errors.Is. The message around them says
// which image, layer or file it was and what to do.
var (
	// ErrReference: the reference is not written as ParseRef wants it.
	ErrReference = errors.New("malformed image reference")
	// ErrNotFound: the file, folder, tag or platform that the reference names
	// does not exist.
	ErrNotFound = errors.New("image not found")
	// ErrUnsupported: the image exists but this node cannot run it (platform,
	// media type, ...).
	ErrUnsupported = errors.New("unsupported image")
	// ErrEscape: the image reaches out of its root folder, or is a folder that
	// must not be one.
	ErrEscape = errors.New("image reaches out of its root")
	// ErrCorrupt: digests do not match, or what should be a tar, JSON or gzip
	// is none.
	ErrCorrupt = errors.New("corrupt image")
	// ErrDenied: a registry wants other credentials.
	ErrDenied = errors.New("not allowed to read the image")
	// ErrUntrusted: nobody has signed the image whom the configuration trusts.
	ErrUntrusted = errors.New("the image is not trusted")
	// ErrNoSpace: the state folder's file system is full (bytes, inodes or
	// quota).
	ErrNoSpace = errors.New("no space left to unpack the image")
	// ErrLimit: unpacking the image takes more bytes, entries or time than the
	// node allows.
	ErrLimit = errors.New("image takes too much to unpack")
	// ErrClosed: the store was closed while (or before) the image was unpacked.
	ErrClosed = errors.New("image store is closed")
)

// classify wraps file system errors for which there is a sentinel.
func classify(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNoSpace):
		return err
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%w (free some, or remove unused images): %w", ErrNoSpace, err)
	}
	return err
}

// missing wraps the errors of opening path: what does not exist is ErrNotFound.
func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return err
}
