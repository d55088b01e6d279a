package probe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/volume"
)

// open finds a path among the replica's own files, without opening what is there:
// links that its tenant has made end within its root, and a FIFO or a device is not
// touched. The file is the caller's.
func open(path string, t Target) (*os.File, error) {
	root, err := t.Root()
	if err != nil {
		return nil, err
	}
	defer unix.Close(root)
	fd, err := volume.OpenIn(root, path, unix.O_PATH, unix.RESOLVE_IN_ROOT)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func askFile(path string, t Target) error {
	f, err := open(path, t)
	if err != nil {
		return fmt.Errorf("look for a file: %w", err)
	}
	return f.Close()
}

func askUnix(ctx context.Context, path string, t Target) error {
	f, err := open(path, t)
	if err != nil {
		return fmt.Errorf("look for a socket: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("look for a socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is no socket", path)
	}
	// By the descriptor: what was looked at is what is connected to.
	c, err := new(net.Dialer).DialContext(ctx, "unix", "/proc/self/fd/"+strconv.Itoa(int(f.Fd())))
	switch {
	case errors.Is(err, unix.EPROTOTYPE): // somebody has it, for datagrams
		return nil
	case errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("nobody listens on %s", path)
	case err != nil:
		return fmt.Errorf("connect to %s: %w", path, inner(err))
	}
	return c.Close()
}
