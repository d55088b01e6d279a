package api

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// execProtocol is the value of the Upgrade header.
const execProtocol = "fcnode-exec/2"

// Messages on an upgraded connection: one JSON value a line, files beside the line
// they belong to. See docs/api.md.
type (
	// execFromClient asks for a signal.
	execFromClient struct {
		Signal string `json:"signal,omitempty"`
	}
	// execFromServer: started comes once, with the terminal's master beside it or with
	// the ends of three pipes; then exit or error, as the last message.
	execFromServer struct {
		Started *execStarted `json:"started,omitempty"`
		Exit    *ExecResult  `json:"exit,omitempty"`
		Error   *Error       `json:"error,omitempty"`
	}
	execStarted struct {
		PID int `json:"pid"`
	}
)

// maxFiles is the largest number of files beside one message.
const maxFiles = 3

// fileConn reads a unix connection and collects the files which come beside the bytes.
type fileConn struct {
	*net.UnixConn
	fds []int // which came and were not taken
}

func (c *fileConn) Read(p []byte) (int, error) {
	oob := make([]byte, unix.CmsgSpace(maxFiles*4))
	n, oobn, flags, _, err := c.ReadMsgUnix(p, oob)
	n = max(n, 0) // it is -1 on errors
	if oobn > 0 {
		if ferr := c.collect(oob[:oobn]); ferr != nil {
			return n, ferr
		}
	}
	if flags&unix.MSG_CTRUNC != 0 {
		return n, errors.New("files were lost on the way: too many, or the limit of open files is reached")
	}
	return n, err
}

func (c *fileConn) collect(oob []byte) error {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return fmt.Errorf("parse the files' control message: %w", err)
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // credentials or another kind of message
		}
		c.fds = append(c.fds, fds...)
	}
	if len(c.fds) > maxFiles {
		c.closeFiles()
		return fmt.Errorf("more than %d files at once", maxFiles)
	}
	return nil
}

// take hands over the n files which must have come, non-blocking, so that reads and
// writes can have deadlines. No process shares these ends.
func (c *fileConn) take(n int) ([]*os.File, error) {
	if got := len(c.fds); got != n {
		c.closeFiles()
		return nil, fmt.Errorf("%d files came over the connection instead of %d", got, n)
	}
	files := make([]*os.File, n)
	for i, fd := range c.fds {
		if err := unix.SetNonblock(fd, true); err != nil {
			return nil, err
		}
		files[i] = os.NewFile(uintptr(fd), "received")
	}
	c.fds = nil
	return files, nil
}

func (c *fileConn) closeFiles() {
	for _, fd := range c.fds {
		unix.Close(fd)
	}
	c.fds = nil
}

// send writes one line with files beside it.
func (c *fileConn) send(line []byte, files ...*os.File) error {
	fds := make([]int, len(files))
	for i, f := range files {
		raw, err := f.SyscallConn()
		if err != nil {
			return fmt.Errorf("pass %s on: %w", f.Name(), err)
		}
		// Not File.Fd: that would make the description blocking, which others share.
		if err := raw.Control(func(fd uintptr) { fds[i] = int(fd) }); err != nil {
			return fmt.Errorf("pass %s on: %w", f.Name(), err)
		}
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	n, _, err := c.WriteMsgUnix(line, oob, nil)
	if err == nil && n < len(line) {
		_, err = c.Write(line[n:])
	}
	return err
}
