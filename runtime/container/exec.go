//go:build linux

package container

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"golang.org/x/sys/unix"
)

// ExecSpec is one more process in a running container. It has the container's
// capabilities, seccomp filter, cgroup and no_new_privs.
type ExecSpec struct {
	Args, Env []string
	Cwd       string // absolute; "" means /
	User      string // as in Spec

	// Stdin, Stdout and Stderr are given to the process itself; nil is
	// /dev/null. They stay the caller's. With TTY they are not used.
	Stdin, Stdout, Stderr *os.File

	// TTY gives the process a terminal of Cols by Rows characters.
	TTY        bool
	Cols, Rows uint16
}

// ExecProcess is a process started by Exec.
type ExecProcess struct {
	id      string
	pid     int
	console *os.File // nil without TTY
	conn    *net.UnixConn
	cmd     *exec.Cmd

	generation int // of the programs
}

// Exec starts one more process in the container. Close the ExecProcess. It is
// killed when that is done before it has ended, or when the daemon dies.
func (c *Container) Exec(ctx context.Context, spec ExecSpec) (*ExecProcess, error) {
	if len(spec.Args) == 0 || spec.Args[0] == "" {
		return nil, specError("nothing to execute in container %s", c.ID())
	}
	if _, ended := c.Exit(); ended {
		return nil, fmt.Errorf("executing %s in container %s: %w", spec.Args[0], c.ID(), ErrNotRunning)
	}
	for {
		p, err := c.m.startExec(c.ID(), spec)
		if err != nil {
			return nil, err
		}
		if err = p.begin(ctx, c.execRequest(spec)); err == nil {
			return p, nil
		}
		err = errors.Join(fmt.Errorf("executing %s in container %s: %w", spec.Args[0], c.ID(), err), p.Close())
		if ctx.Err() != nil || !c.m.otherPrograms(p.generation, err) {
			return nil, err
		}
	}
}

func (c *Container) execRequest(spec ExecSpec) wire.ExecRequest {
	cwd := spec.Cwd
	if cwd == "" {
		cwd = "/"
	}
	return wire.ExecRequest{
		ID: c.ID(), LibDir: filepath.Join(c.m.opts.RunDir, wire.LibDir), Slot: c.state.Cgroup, Args: spec.Args, Env: withPath(spec.Env), Cwd: cwd, User: spec.User,
		TTY: spec.TTY, Cols: spec.Cols, Rows: spec.Rows,
	}
}

// startExec starts a runner for one exec.
func (m *Manager) startExec(id string, spec ExecSpec) (*ExecProcess, error) {
	conn, theirs, err := wire.Pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close() // the runner has its own
	cmd, generation, err := m.programs.start(func(runner, _ *os.File) *exec.Cmd {
		cmd := execCommand(runner, spec)
		cmd.ExtraFiles = []*os.File{theirs}
		return cmd
	})
	if err != nil {
		_ = conn.Close() // of no use without a runner
		return nil, fmt.Errorf("starting the runner: %w", err)
	}
	return &ExecProcess{id: id, conn: conn, cmd: cmd, generation: generation}, nil
}

func execCommand(runner *os.File, spec ExecSpec) *exec.Cmd {
	cmd := exec.Command(opened(runner), "exec")
	cmd.Args[0] = "fcnode-runner"
	cmd.Env = []string{"GOGC=off"} // it allocates a few MB once, then it waits
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if spec.TTY {
		return cmd
	}
	// an interface that holds a nil *os.File is not nil
	if spec.Stdin != nil {
		cmd.Stdin = spec.Stdin
	}
	if spec.Stdout != nil {
		cmd.Stdout = spec.Stdout
	}
	if spec.Stderr != nil {
		cmd.Stderr = spec.Stderr
	}
	return cmd
}

// begin sends the request and waits until the process runs.
func (p *ExecProcess) begin(ctx context.Context, req wire.ExecRequest) error {
	stop := boundRead(ctx, p.conn)
	defer stop()
	if err := wire.Send(p.conn, req); err != nil {
		return errors.Join(err, lastWords(p.conn, lastWordsTime))
	}
	var started wire.ExecStarted
	files, err := wire.Recv(p.conn, &started)
	if err != nil {
		return orCause(ctx, err)
	}
	if len(files) > 0 {
		p.console = files[0]
	}
	p.pid = started.Pid
	return fromWire(p.id, started.Error)
}

// Pid is the process' number in the machine's PID namespace.
func (p *ExecProcess) Pid() int { return p.pid }

// Console is the master side of the process' terminal, or nil. Reading it gives
// an error (EIO) when the process has closed its side. It is closed by Close.
func (p *ExecProcess) Console() *os.File { return p.console }

// Resize tells the terminal its size in characters.
func (p *ExecProcess) Resize(cols, rows uint16) error {
	if p.console == nil {
		return fmt.Errorf("resizing the terminal of process %d: it has none", p.pid)
	}
	err := unix.IoctlSetWinsize(int(p.console.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: cols, Row: rows})
	if err != nil {
		return fmt.Errorf("resizing the terminal of process %d: %w", p.pid, err)
	}
	return nil
}

// Signal signals the process.
func (p *ExecProcess) Signal(sig unix.Signal) error {
	return wire.Send(p.conn, wire.ExecSignal{Signal: int(sig)})
}

// Wait waits for the end of the process and gives its exit code, 128+n if
// signal n ended it.
func (p *ExecProcess) Wait(ctx context.Context) (int, error) {
	stop := boundRead(ctx, p.conn)
	defer stop()
	var exited wire.ExecExited
	if _, err := wire.Recv(p.conn, &exited); err != nil {
		return -1, fmt.Errorf("waiting for process %d of container %s: %w", p.pid, p.id, orCause(ctx, err))
	}
	return exited.Code, nil
}

// Close ends the process, if it runs, and frees what belongs to it.
func (p *ExecProcess) Close() error {
	err := p.conn.Close() // the sign for the runner
	if p.console != nil {
		err = errors.Join(err, p.console.Close())
	}
	_ = p.cmd.Wait() // how the runner ended does not matter
	return err
}
