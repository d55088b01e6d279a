package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/fcnode/fcnode/runtime/cgroup/cgroupfd"
	"github.com/fcnode/fcnode/runtime/container/mounts"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// The descriptors that the shim passes.
const (
	socketFD = 3 + iota
	stdoutFD
	stderrFD
	shimFD
)

// server is a runner that waits for a request, or carries it out.
type server struct {
	conn   *net.UnixConn // to the daemon
	shim   *json.Encoder
	gate   *net.UnixConn // to Gate in the container's init
	filter *os.File      // to the thread of the filter there

	private *private // nil: the container is in the machine's user namespace

	container *libcontainer.Container
	started   chan error // what libcontainer's Start returns

	init  wire.Init
	steps []wire.Step
}

// Serve prepares a container, waits for one request on the inherited socket and
// carries it out. It returns nil without a request when the daemon is gone.
// slot names the container for libcontainer, runDir is the node's. With ids the
// container gets a user namespace of these, in the inherited network namespace.
func Serve(slot, runDir string, ids wire.IDs) error {
	names := []string{"socket", "stdout", "stderr", "shim"}
	if ids != 0 {
		names = append(names, "network namespace")
	}
	files := inherited(names...)
	conn, err := wire.Conn(files[0])
	if err != nil {
		return err
	}
	s := &server{conn: conn, shim: json.NewEncoder(files[3]), started: make(chan error, 1)}
	if ids != 0 {
		s.private = &private{ids: ids, netns: files[4]}
	}
	if err := s.prepare(slot, runDir, files[1], files[2]); err != nil {
		return s.answer(err)
	}
	debug.FreeOSMemory() // what waits should be small
	var req wire.StartRequest
	fds, err := wire.Recv(conn, &req)
	if errors.Is(err, io.EOF) {
		return nil // and Gate sees the same of this process
	}
	if err != nil {
		return s.answer(fmt.Errorf("waiting for a request: %w", err))
	}
	s.step("received")
	if len(fds) != 1 {
		return s.answer(fmt.Errorf("the request came with %d descriptors instead of the network namespace alone", len(fds)))
	}
	if req.Hold {
		return s.hold(req, fds[0])
	}
	return s.answer(s.start(req, fds[0]))
}

// inherited names the descriptors that start at socketFD, and keeps them from
// being inherited further.
func inherited(names ...string) []*os.File {
	files := make([]*os.File, len(names))
	for i, name := range names {
		unix.CloseOnExec(socketFD + i)
		files[i] = os.NewFile(uintptr(socketFD+i), name)
	}
	return files
}

// answer tells the daemon. That it has died meanwhile is not this process'
// concern: the container is recorded, and the next daemon finds it.
func (s *server) answer(err error) error {
	reply := wire.StartReply{Init: s.init, Steps: s.steps}
	if err != nil {
		reply.Error = asError(err)
	}
	_ = wire.Send(s.conn, reply) // see above
	return err
}

func (s *server) step(name string) {
	s.steps = append(s.steps, wire.Step{Name: name, At: wire.Now()})
}

// prepare lets libcontainer start the container's init, up to Gate.
func (s *server) prepare(slot, runDir string, stdout, stderr *os.File) error {
	if err := privateMounts(); err != nil {
		return err
	}
	gate, gateEnd, err := wire.Pair()
	if err != nil {
		return err
	}
	filter, filterEnd, err := filterPair()
	if err != nil {
		return err
	}
	config, err := baseConfig(runDir)
	if err != nil {
		return err
	}
	if s.private != nil {
		s.private.configure(config)
	}
	s.container, err = libcontainer.Create(filepath.Join(runDir, wire.LibDir), slot, config)
	if err != nil {
		return fmt.Errorf("making a container: %w", err)
	}
	p := &libcontainer.Process{
		Args: []string{"/"}, // Gate knows the arguments
		Cwd:  "/", Stdout: stdout, Stderr: stderr, Init: true,
		ExtraFiles: []*os.File{gateEnd, filterEnd}, // gateFD and filterFD
	}
	go func() {
		s.started <- s.container.Start(p)
		_, _ = gateEnd.Close(), filterEnd.Close() // init's own
	}()
	s.gate, s.filter = gate, filter
	if s.private != nil {
		if err := s.preparePrivate(stdout, stderr); err != nil {
			return err
		}
	}
	return s.waitGate()
}

// waitGate waits until Gate is prepared, and learns which process it is.
func (s *server) waitGate() error {
	var ready gateReply
	if _, err := wire.Recv(s.gate, &ready); err != nil {
		// init has died: libcontainer says why.
		return errors.Join(<-s.started, fmt.Errorf("preparing a container: %w", err))
	}
	if ready.Error != nil {
		return ready.Error
	}
	var err error
	s.init.Process, err = wire.FindProcess(ready.Pid)
	return err
}

// privateMounts makes the mount namespace, which the shim has made, this
// container's own.
func privateMounts() error {
	// Volumes that are mounted on the machine later are to be seen here, mounts
	// made here are not to be seen there.
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("keeping mounts private: %w", err)
	}
	flags := uintptr(unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	if err := unix.Mount("", cgroupfd.Mountpoint, "", flags, ""); err != nil {
		return fmt.Errorf("making %s read-only here: %w", cgroupfd.Mountpoint, err)
	}
	return nil
}

// start carries out a request.
func (s *server) start(req wire.StartRequest, netns *os.File) error {
	if err := s.ask(req, netns); err != nil {
		return err
	}
	if err := s.record(req); err != nil {
		return err
	}
	if err := s.created(req); err != nil {
		return err
	}
	if err := s.letRun(req); err != nil {
		return err
	}
	return s.executed(req)
}

// created waits until init has done all but to execute the container's program,
// and switches the container's filter on.
func (s *server) created(req wire.StartRequest) error {
	err := <-s.started
	s.step("created")
	if err != nil {
		return s.gateFailed(req, err)
	}
	var passed gateReply // sent long ago
	if _, err := wire.Recv(s.gate, &passed); err == nil {
		s.steps = append(s.steps[:1:1], append(passed.Steps, s.steps[1:]...)...)
	}
	// Not by libcontainer, which would take nosuid and nodev off again.
	if req.ReadOnlyRoot {
		if err := mounts.RootReadOnly(s.init.Pid, true, req.Privileges.New); err != nil {
			return err
		}
	}
	if err := filterOn(s.filter, req.Privileges); err != nil {
		return fmt.Errorf("switching on the seccomp filter of container %s: %w", req.ID, err)
	}
	s.step("filtered")
	return nil
}

// gateFailed finds out why init has ended: by Gate's own words, or else by
// libcontainer's.
func (s *server) gateFailed(req wire.StartRequest, err error) error {
	var reply gateReply
	if _, recvErr := wire.Recv(s.gate, &reply); recvErr == nil && reply.Error != nil {
		return reply.Error
	}
	return classify(req, err)
}

// record tells the shim and, on disk, every later daemon which process the
// container's init is. It does so while init works: nothing is lost by being
// early, as the shim also says when nothing came of it.
func (s *server) record(req wire.StartRequest) error {
	if err := wire.WriteFile(req.Dir, wire.InitFile, s.init); err != nil {
		return err
	}
	return s.tellMonitor(req)
}

func (s *server) tellMonitor(req wire.StartRequest) error {
	if err := errors.Join(s.shim.Encode(req.Monitor), s.shim.Encode(wire.Started{Pid: s.init.Pid})); err != nil {
		return fmt.Errorf("telling the monitor of container %s: %w", req.ID, err)
	}
	return nil
}

// letRun lets the container's program run.
func (s *server) letRun(req wire.StartRequest) error {
	if err := s.container.Exec(); err != nil {
		return fmt.Errorf("letting the program of container %s run: %w", req.ID, err)
	}
	s.step("executed")
	return nil
}

// executed tells the shim that the container runs, and is no longer this
// process' to end.
func (s *server) executed(req wire.StartRequest) error {
	if err := s.shim.Encode(wire.Executed{}); err != nil {
		return fmt.Errorf("telling the monitor of container %s: %w", req.ID, err)
	}
	return nil
}
