package container

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/fcnode/fcnode/runtime/cgroup/cgroupfd"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"golang.org/x/sys/unix"
)

// execEndTime bounds the wait for the end of what an exec has started, and for
// the end of its runner, which waits for the same.
const (
	execEndTime       = 10 * time.Second
	execRunnerEndTime = execEndTime + 5*time.Second
)

// ExecSpec is one more process in a running container. What confines the
// container's first process confines it too: namespaces, capabilities, seccomp
// filter, no_new_privs, resource limits and, by a cgroup within the
// container's, all that is counted and limited there.
type ExecSpec struct {
	Args, Env []string
	SecretEnv []SecretVariable // besides Env, which comes first
	Cwd       string           // absolute; "" means /
	User      string           // as in Spec

	// TTY gives the process a terminal of Cols by Rows characters.
	TTY        bool
	Cols, Rows uint16
}

// ExecProcess is a process started by Exec.
type ExecProcess struct {
	id    string
	pid   int
	group string     // the cgroup of all that it starts
	files []*os.File // see Files
	conn  *net.UnixConn
	cmd   *exec.Cmd

	generation int // of the programs
}

// Exec starts one more process in the container. Close the ExecProcess. When
// the process has ended, when Close is called before that, or when the daemon
// dies, everything that it has started is killed.
func (c *Container) Exec(ctx context.Context, spec ExecSpec) (*ExecProcess, error) {
	if len(spec.Args) == 0 || spec.Args[0] == "" {
		return nil, specError("nothing to execute in container %s", c.Name())
	}
	if _, ended := c.Exit(); ended {
		return nil, fmt.Errorf("executing %s in container %s: %w", spec.Args[0], c.Name(), ErrNotRunning)
	}
	for {
		req := c.execRequest(spec)
		p, err := c.m.startExec(req)
		if err != nil {
			return nil, err
		}
		if err = p.begin(ctx, req); err == nil {
			return p, nil
		}
		err = errors.Join(fmt.Errorf("executing %s in container %s: %w", spec.Args[0], c.Name(), err), p.Close())
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
		ID: c.Name(), Dir: c.m.dir(c.ID()), LibDir: filepath.Join(c.m.opts.RunDir, wire.LibDir), Init: c.init,
		Cgroup: c.group.Path(), Group: "exec-" + c.m.prefix + strconv.FormatUint(c.m.slots.Add(1), 10),
		Args: spec.Args, Env: withPath(spec.Env), Cwd: cwd, User: spec.User,
		SecretEnv: spec.SecretEnv, SecretRoots: c.m.opts.SecretRoots, TTY: spec.TTY, Cols: spec.Cols, Rows: spec.Rows,
	}
}

// startExec starts a runner for one exec.
func (m *Manager) startExec(req wire.ExecRequest) (*ExecProcess, error) {
	conn, theirs, err := wire.Pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close() // the runner has its own
	cmd, generation, err := m.programs.start(func(now openedPrograms) *exec.Cmd {
		cmd := exec.Command(opened(now.runner), "exec")
		cmd.Args[0] = "fcnode-runner"
		cmd.Env = []string{"GOGC=off"} // it allocates a few MB once, then it waits
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		cmd.ExtraFiles = []*os.File{theirs}
		return cmd
	})
	if err != nil {
		_ = conn.Close() // of no use without a runner
		return nil, fmt.Errorf("starting the runner: %w", err)
	}
	return &ExecProcess{id: req.ID, group: filepath.Join(req.Cgroup, req.Group), conn: conn, cmd: cmd, generation: generation}, nil
}

// begin sends the request and waits until the process runs.
func (p *ExecProcess) begin(ctx context.Context, req wire.ExecRequest) error {
	stop := boundRead(ctx, p.conn)
	defer stop()
	if err := wire.Send(p.conn, req); err != nil {
		return errors.Join(err, lastWords(p.conn, lastWordsTime))
	}
	var started wire.ExecStarted
	var err error
	if p.files, err = wire.Recv(p.conn, &started); err != nil {
		return orCause(ctx, err)
	}
	p.pid = started.Pid
	if started.Error == nil && len(p.files) != 1 && len(p.files) != 3 {
		return fmt.Errorf("the runner sent %d descriptors instead of a terminal or three pipes", len(p.files))
	}
	return fromWire(p.id, started.Error)
}

// Pid is the process' number in the machine's PID namespace.
func (p *ExecProcess) Pid() int { return p.pid }

// Files are joined to the process' streams, and the caller's from now on, who
// closes them: the master side of its terminal, or the other ends of the pipes
// that are its standard input, output and error. A program in the container may
// have the process' ends open for longer than the process lives: do not wait for
// the end of the file after that.
func (p *ExecProcess) Files() []*os.File {
	files := p.files
	p.files = nil
	return files
}

// Signal signals the process.
func (p *ExecProcess) Signal(sig unix.Signal) error {
	return wire.Send(p.conn, wire.ExecSignal{Signal: int(sig)})
}

// Wait waits for the end of the process and of all that it has started, and
// gives its exit code, 128+n if signal n ended it.
func (p *ExecProcess) Wait(ctx context.Context) (int, error) {
	stop := boundRead(ctx, p.conn)
	defer stop()
	var exited wire.ExecExited
	if _, err := wire.Recv(p.conn, &exited); err != nil {
		return -1, fmt.Errorf("waiting for process %d of container %s: %w", p.pid, p.id, orCause(ctx, err))
	}
	return exited.Code, fromWire(p.id, exited.Error)
}

// Close ends the process and all that it has started, if it runs, and frees what
// belongs to it.
func (p *ExecProcess) Close() error {
	err := p.conn.Close() // the sign for the runner
	for _, f := range p.Files() {
		_ = f.Close() // nobody wanted it
	}
	hangs := time.AfterFunc(execRunnerEndTime, func() { _ = p.cmd.Process.Kill() }) // ended is fine
	defer hangs.Stop()
	_ = p.cmd.Wait() // how the runner ended does not matter
	// It has done this itself, unless it was killed.
	return errors.Join(err, cgroupfd.End(p.group, execEndTime))
}
