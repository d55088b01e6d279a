package runner

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// streams join a process to who has asked for it. Both ends are made for the one
// exec: the process never gets a descriptor of anybody else, not even /dev/null,
// whose mode root in a container could change.
type streams struct {
	ours    []*os.File // for the caller: the terminal's master, or the ends of three pipes
	theirs  []*os.File // for the process
	console *os.File   // where libcontainer sends the terminal to
}

// openStreams gives p its standard streams: pipes, or a terminal that is made in
// the container. The pipes are owner's, the container's root.
func openStreams(p *libcontainer.Process, owner int, tty bool, cols, rows uint16) (*streams, error) {
	s := &streams{}
	var err error
	if tty {
		var theirs *os.File
		if s.console, theirs, err = consolePair(); err != nil {
			return nil, err
		}
		s.theirs = []*os.File{theirs}
		p.ConsoleSocket, p.ConsoleWidth, p.ConsoleHeight = theirs, cols, rows
		return s, nil
	}
	for range 3 {
		if err := s.addPipe(owner); err != nil {
			s.close()
			return nil, err
		}
	}
	// the first pipe is read by the process, the others by the caller
	s.ours[0], s.theirs[0] = s.theirs[0], s.ours[0]
	p.Stdin, p.Stdout, p.Stderr = s.theirs[0], s.theirs[1], s.theirs[2]
	return s, nil
}

func (s *streams) addPipe(owner int) error {
	var fds [2]int
	// Blocking, as programs expect their streams to be.
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("making a pipe: %w", err)
	}
	s.ours = append(s.ours, os.NewFile(uintptr(fds[0]), "pipe"))
	s.theirs = append(s.theirs, os.NewFile(uintptr(fds[1]), "pipe"))
	if err := unix.Fchown(fds[0], owner, owner); err != nil { // of both ends
		return fmt.Errorf("giving a pipe to the container: %w", err)
	}
	return nil
}

// started leaves the process' ends to the process, and receives its terminal.
func (s *streams) started() error {
	for _, f := range s.theirs {
		_ = f.Close() // the process has its own
	}
	s.theirs = nil
	if s.console == nil {
		return nil
	}
	master, err := recvConsole(s.console)
	if err != nil {
		return fmt.Errorf("getting the terminal: %w", err)
	}
	s.ours = []*os.File{master}
	return nil
}

func (s *streams) close() {
	for _, f := range append(append([]*os.File{s.console}, s.ours...), s.theirs...) {
		if f != nil {
			_ = f.Close() // nobody uses it any more
		}
	}
	*s = streams{}
}

// consolePair makes the sockets over which libcontainer hands out a terminal.
func consolePair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a pair of sockets: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "console"), os.NewFile(uintptr(fds[1]), "console"), nil
}

// recvConsole receives the master side of a terminal, as libcontainer sends it:
// its name as data and one descriptor.
func recvConsole(socket *os.File) (*os.File, error) {
	name := make([]byte, 4096)
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := unix.Recvmsg(int(socket.Fd()), name, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, err
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return nil, err
	}
	if n == 0 || len(msgs) != 1 {
		return nil, io.ErrUnexpectedEOF
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil {
		return nil, err
	}
	master := os.NewFile(uintptr(fds[0]), string(name[:n]))
	// The folder it was made in is the tenant's. What is not a terminal is not passed on.
	if _, err := unix.IoctlGetInt(fds[0], unix.TIOCGPTN); err != nil {
		return nil, errors.Join(fmt.Errorf("/dev/ptmx of the container is no terminal: %w", err), master.Close())
	}
	return master, nil
}
