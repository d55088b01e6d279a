//go:build linux

package runner

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// Exec starts one more process in a running container, as the request on the
// inherited socket says, answers when it runs and again when it has ended. The
// process is killed when the socket is closed.
func Exec() error {
	conn, err := wire.Conn(inherited("socket")[0])
	if err != nil {
		return err
	}
	defer conn.Close() // the process ends
	var req wire.ExecRequest
	if _, err := wire.Recv(conn, &req); err != nil {
		err = fmt.Errorf("waiting for a request: %w", err)
		return errors.Join(err, wire.Send(conn, wire.ExecStarted{Error: asError(err)}))
	}
	p, console, err := startExec(req)
	if err != nil {
		return errors.Join(err, wire.Send(conn, wire.ExecStarted{Error: asError(err)}))
	}
	if err := announce(conn, p, console); err != nil {
		return errors.Join(err, p.Signal(os.Kill))
	}
	go obey(conn, p)
	return wire.Send(conn, waitExec(p))
}

// announce tells the daemon that the process runs, and gives it the terminal.
func announce(conn *net.UnixConn, p *libcontainer.Process, console *os.File) error {
	pid, err := p.Pid()
	if err != nil {
		return err
	}
	if console == nil {
		return wire.Send(conn, wire.ExecStarted{Pid: pid})
	}
	defer console.Close() // the daemon has it
	return wire.Send(conn, wire.ExecStarted{Pid: pid}, console)
}

// obey passes signals on, until the daemon is gone.
func obey(conn *net.UnixConn, p *libcontainer.Process) {
	for {
		var msg wire.ExecSignal
		if _, err := wire.Recv(conn, &msg); err != nil {
			_ = p.Signal(os.Kill) // ended is fine
			return
		}
		_ = p.Signal(unix.Signal(msg.Signal)) // as above
	}
}

func startExec(req wire.ExecRequest) (*libcontainer.Process, *os.File, error) {
	c, err := libcontainer.Load(req.LibDir, req.Slot)
	if err != nil {
		return nil, nil, fmt.Errorf("loading container %s: %w", req.ID, err)
	}
	p := &libcontainer.Process{Args: req.Args, Env: req.Env, Cwd: req.Cwd}
	if err := setUser(c, p, req.User); err != nil {
		return nil, nil, err
	}
	if !req.TTY {
		p.Stdin, p.Stdout, p.Stderr = os.Stdin, os.Stdout, os.Stderr
		return p, nil, runExec(c, p, req)
	}
	ours, theirs, err := consolePair()
	if err != nil {
		return nil, nil, err
	}
	defer ours.Close()   // used once
	defer theirs.Close() // the process has its own
	p.ConsoleSocket, p.ConsoleWidth, p.ConsoleHeight = theirs, req.Cols, req.Rows
	if err := runExec(c, p, req); err != nil {
		return nil, nil, err
	}
	console, err := recvConsole(ours)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("getting the terminal of a process in container %s: %w", req.ID, err), p.Signal(os.Kill))
	}
	return p, console, nil
}

func runExec(c *libcontainer.Container, p *libcontainer.Process, req wire.ExecRequest) error {
	err := c.Run(p)
	if err == nil {
		return nil
	}
	if text := err.Error(); errors.Is(err, exec.ErrNotFound) || strings.Contains(text, "executable file not found") || strings.Contains(text, "no such file or directory") {
		return fail(wire.KindExec, "there is no executable file %s in container %s: %w", req.Args[0], req.ID, err)
	}
	return fmt.Errorf("executing %s in container %s: %w", req.Args[0], req.ID, err)
}

// setUser looks the user up in the running container's own root file system.
func setUser(c *libcontainer.Container, p *libcontainer.Process, spec string) error {
	state, err := c.State()
	if err != nil {
		return fmt.Errorf("reading the state of container %s: %w", c.ID(), err)
	}
	root, err := os.OpenFile("/proc/"+strconv.Itoa(state.InitProcessPid)+"/root", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("opening the root file system of container %s: %w", c.ID(), err)
	}
	defer root.Close() // a path descriptor
	u, err := lookUser(root, spec)
	if err != nil {
		return err
	}
	p.UID, p.GID, p.AdditionalGroups = u.uid, u.gid, u.groups
	p.Capabilities = capabilitiesFor(u.uid)
	return nil
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
	return os.NewFile(uintptr(fds[0]), string(name[:n])), nil
}

func waitExec(p *libcontainer.Process) wire.ExecExited {
	state, err := p.Wait()
	if state == nil || (err != nil && !isExit(err)) {
		return wire.ExecExited{Code: -1}
	}
	status, ok := state.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return wire.ExecExited{Code: 128 + int(status.Signal()), Signal: unix.SignalName(status.Signal())}
	}
	return wire.ExecExited{Code: state.ExitCode()}
}

func isExit(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit)
}
