package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// maxMessage bounds a message; arguments and environment of a process are
// bounded by the kernel at 2 MiB.
const maxMessage = 8 << 20

// maxFiles is how many descriptors go with a message at most: those of 64
// volumes are the most. The kernel sends up to 253.
const maxFiles = 128

// Pair makes a connected pair of sockets: one end for this process, the other
// to be inherited by a child.
func Pair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a pair of sockets: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "socketpair")
	ours, err := Conn(os.NewFile(uintptr(fds[0]), "socketpair"))
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return ours, theirs, nil
}

// Conn takes over a unix socket that came as a file.
func Conn(f *os.File) (*net.UnixConn, error) {
	defer f.Close() // FileConn has its own copy
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("using inherited socket %s: %w", f.Name(), err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("inherited socket %s is a %T", f.Name(), c), c.Close())
	}
	return u, nil
}

// Send sends v as JSON behind version and length, with descriptors.
func Send(c *net.UnixConn, v any, files ...*os.File) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding a %T: %w", v, err)
	}
	if len(body) > maxMessage {
		return fmt.Errorf("a %T of %d bytes is more than the %d that can be sent", v, len(body), maxMessage)
	}
	msg := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), Version<<versionShift|uint32(len(body)))
	msg = append(msg, body...)
	var oob []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		oob = unix.UnixRights(fds...)
	}
	n, _, err := c.WriteMsgUnix(msg, oob, nil)
	if err == nil && n < len(msg) {
		_, err = c.Write(msg[n:])
	}
	if err != nil {
		return fmt.Errorf("sending a %T: %w", v, err)
	}
	return nil
}

// Recv receives what Send sent. io.EOF means that the other side is gone, a
// VersionError that it is of another release; then its message is taken, and unread.
func Recv(c *net.UnixConn, v any) ([]*os.File, error) {
	head := make([]byte, 4)
	oob := make([]byte, unix.CmsgSpace(maxFiles*4))
	n, oobn, _, _, err := c.ReadMsgUnix(head, oob)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, io.EOF
	}
	files, err := rights(oob[:oobn])
	if err != nil {
		return nil, err
	}
	if err := recvBody(c, head, n, v); err != nil {
		closeAll(files)
		return nil, err
	}
	return files, nil
}

func recvBody(c *net.UnixConn, head []byte, n int, v any) error {
	if _, err := io.ReadFull(c, head[n:]); err != nil {
		return fmt.Errorf("receiving a %T: %w", v, err)
	}
	size := binary.BigEndian.Uint32(head)
	version := size >> versionShift
	size &= 1<<versionShift - 1
	if size > maxMessage {
		return fmt.Errorf("receiving a %T: %d bytes are too many", v, size)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(c, body); err != nil {
		return fmt.Errorf("receiving a %T: %w", v, err)
	}
	if version != Version {
		return fmt.Errorf("receiving a %T: %w", v, &VersionError{Ours: Version, Theirs: int(version)})
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("decoding a %T: %w", v, err)
	}
	return nil
}

// rights takes the descriptors out of a control message. The Go runtime asks
// for them with MSG_CMSG_CLOEXEC.
func rights(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("reading a control message: %w", err)
	}
	var files []*os.File
	for i := range msgs {
		fds, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			continue // not descriptors
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // unused
	}
}
