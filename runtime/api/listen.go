package api

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// ErrInUse is Listen's answer when another daemon answers on the socket.
var ErrInUse = errors.New("another daemon answers on this socket")

// socketMode lets the owner and the group talk to the node, and nobody else.
const socketMode = 0o660

// probeTimeout limits how long Listen waits for a sign of life on an old socket.
const probeTimeout = time.Second

// maxSocketPath is sun_path without its final zero.
const maxSocketPath = 107

// Listen opens the node's socket. The folder above is made when it is missing; a
// socket file left by a dead daemon is replaced; one that answers is ErrInUse, and
// anything that is not a socket stays. The socket belongs to the group when there is
// a group of that name; grouped tells. Closing the listener removes the file, unless
// it is another daemon's by then.
//
// The socket is made in a folder that nobody else can enter and moved into its place when
// its mode and owner are right, so that there is no moment in which too many may
// connect, nor, when it replaces a stale one, one in which there is none.
func Listen(path, group string) (ln net.Listener, grouped bool, err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, false, fmt.Errorf("make the folder of the API socket: %w", err)
	}
	if err := checkStale(path); err != nil {
		return nil, false, err
	}
	private, err := os.MkdirTemp(dir, ".api")
	if err != nil {
		return nil, false, fmt.Errorf("make a private folder for the API socket: %w", err)
	}
	defer os.RemoveAll(private)

	tmp := filepath.Join(private, "s")
	if len(tmp) > maxSocketPath {
		return nil, false, fmt.Errorf("socket path %s: too long by %d bytes for a unix socket, choose a shorter run folder",
			path, len(tmp)-maxSocketPath)
	}
	unix, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		return nil, false, fmt.Errorf("listen on %s: %w", path, err)
	}
	unix.SetUnlinkOnClose(false) // it would unlink tmp
	own, grouped, err := publish(tmp, path, group)
	if err != nil {
		unix.Close()
		return nil, false, err
	}
	return &listener{UnixListener: unix, path: path, own: own}, grouped, nil
}

// checkStale returns nil when there is nothing at path, or a socket on which nobody listens.
func checkStale(path string) error {
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the API socket: %w", err)
	}
	if fi.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is in the way: it is not a socket (%s); remove it or choose another socket path", path, fi.Mode())
	}
	conn, err := net.DialTimeout("unix", path, probeTimeout)
	switch {
	case err == nil:
		conn.Close()
		return fmt.Errorf("listen on %s: %w", path, ErrInUse)
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, syscall.EAGAIN), os.IsTimeout(err):
		// A full backlog: somebody listens, who is busy.
		return fmt.Errorf("listen on %s: %w (it is too busy to accept)", path, ErrInUse)
	default:
		return fmt.Errorf("try the socket that is at %s: %w", path, err)
	}
}

func publish(tmp, path, group string) (own os.FileInfo, grouped bool, err error) {
	if gid, ok := lookupGroup(group); ok {
		if err := os.Chown(tmp, -1, gid); err != nil {
			return nil, false, fmt.Errorf("give the API socket to group %s: %w", group, err)
		}
		grouped = true
	}
	if err := os.Chmod(tmp, socketMode); err != nil {
		return nil, false, fmt.Errorf("set the mode of the API socket: %w", err)
	}
	own, err = os.Lstat(tmp)
	if err != nil {
		return nil, false, fmt.Errorf("look at the new API socket: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return nil, false, fmt.Errorf("move the API socket into its place: %w", err)
	}
	return own, grouped, nil
}

func lookupGroup(name string) (gid int, ok bool) {
	if name == "" {
		return 0, false
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, false
	}
	gid, err = strconv.Atoi(g.Gid)
	return gid, err == nil
}

// listener removes its file once when it is closed, if the file is still its own.
type listener struct {
	*net.UnixListener
	path   string
	own    os.FileInfo
	remove sync.Once
}

func (l *listener) Close() error {
	l.remove.Do(func() {
		if fi, err := os.Lstat(l.path); err == nil && os.SameFile(fi, l.own) {
			os.Remove(l.path)
		}
	})
	return l.UnixListener.Close()
}

// Addr names the path under which the socket is found.
func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }
