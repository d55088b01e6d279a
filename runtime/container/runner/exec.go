package runner

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fcnode/fcnode/runtime/cgroup/cgroupfd"
	"github.com/fcnode/fcnode/runtime/container/mounts"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// endTime bounds the wait for killed processes, which end at once unless they
// hang in the kernel.
const endTime = 10 * time.Second

// execution is one more process in a running container, and all that it starts.
type execution struct {
	conn  *net.UnixConn // to the daemon
	req   wire.ExecRequest
	group string // the cgroup of all that

	process atomic.Pointer[libcontainer.Process] // nil until it runs
}

// Exec starts one more process in a running container, as the request on the
// inherited socket says, answers when it runs and again when it has ended. With
// it, or when the socket is closed, ends everything that it has started.
func Exec() error {
	conn, err := wire.Conn(inherited("socket")[0])
	if err != nil {
		return err
	}
	defer conn.Close() // the process ends
	// Caught, lest the process ignores what a daemon under nohup does.
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT)
	e := &execution{conn: conn}
	if _, err := wire.Recv(conn, &e.req); err != nil {
		return e.refuse(fmt.Errorf("waiting for a request: %w", err))
	}
	e.group = filepath.Join(e.req.Cgroup, e.req.Group)
	if err := e.run(); err != nil {
		return e.refuse(errors.Join(err, e.end()))
	}
	exited := e.wait()
	if err := e.end(); err != nil {
		exited.Error = asError(err)
	}
	return wire.Send(conn, exited)
}

func (e *execution) refuse(err error) error {
	return errors.Join(err, wire.Send(e.conn, wire.ExecStarted{Error: asError(err)}))
}

// end ends what is left in the cgroup.
func (e *execution) end() error {
	if err := cgroupfd.End(e.group, endTime); err != nil {
		return fmt.Errorf("ending what %s has started in container %s: %w", e.req.Args[0], e.req.ID, err)
	}
	return nil
}

// run starts the process and answers.
func (e *execution) run() error {
	t, err := openTarget(e.req)
	if err != nil {
		return err
	}
	defer t.close()
	u, err := mounts.LookUser(t.root, e.req.User)
	if err != nil {
		return err
	}
	env, _, err := mounts.Opener{ID: e.req.ID, Secrets: e.req.SecretRoots}.Variables(e.req.SecretEnv)
	if err != nil {
		return err
	}
	p := &libcontainer.Process{
		Args: e.req.Args, Env: append(env, e.req.Env...), Cwd: e.req.Cwd, UID: u.UID, GID: u.GID, AdditionalGroups: u.Groups,
		Capabilities: capabilitiesFor(u.UID, t.capabilities), SubCgroupPaths: map[string]string{"": e.req.Group},
	}
	s, err := openStreams(p, t.owner, e.req.TTY, e.req.Cols, e.req.Rows)
	if err != nil {
		return err
	}
	defer s.close()
	if err := e.start(t, p); err != nil {
		return err
	}
	if err := s.started(); err != nil {
		return fmt.Errorf("executing %s in container %s: %w", e.req.Args[0], e.req.ID, err)
	}
	e.process.Store(p)
	pid, err := p.Pid()
	if err != nil {
		return err
	}
	return wire.Send(e.conn, wire.ExecStarted{Pid: pid}, s.ours...)
}

func (e *execution) start(t *target, p *libcontainer.Process) error {
	c, remove, err := t.load()
	if err != nil {
		return err
	}
	defer remove()
	if err := os.Mkdir(e.group, 0o755); err != nil {
		return fmt.Errorf("making a cgroup for an exec in container %s: %w", e.req.ID, err)
	}
	go e.obey() // also that the daemon gives up while libcontainer works
	err = c.Run(p)
	if err == nil {
		return nil
	}
	if text := err.Error(); errors.Is(err, exec.ErrNotFound) || strings.Contains(text, "executable file not found") || strings.Contains(text, "no such file or directory") {
		return fail(wire.KindExec, "there is no executable file %s in container %s: %w", e.req.Args[0], e.req.ID, err)
	}
	return fmt.Errorf("executing %s in container %s: %w", e.req.Args[0], e.req.ID, err)
}

// obey passes signals on, until the daemon is gone.
func (e *execution) obey() {
	for {
		var msg wire.ExecSignal
		if _, err := wire.Recv(e.conn, &msg); err != nil {
			_ = cgroupfd.Kill(e.group) // the others learn by that
			return
		}
		if p := e.process.Load(); p != nil {
			_ = p.Signal(unix.Signal(msg.Signal)) // ended is fine
		}
	}
}

func (e *execution) wait() wire.ExecExited {
	state, err := e.process.Load().Wait()
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
