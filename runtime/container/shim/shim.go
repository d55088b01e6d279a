package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fcnode/fcnode/runtime/cgroup/cgroupfd"
	"github.com/fcnode/fcnode/runtime/container/monitor"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/runtime/logs"
	"golang.org/x/sys/unix"
)

// drainTime is how long the output of a container that has ended may take to
// end too. Nobody is left to hold the other end, so this is a safety net.
const drainTime = 2 * time.Second

// Options come from the daemon on the command line.
type Options struct {
	Cgroup string   // absolute path of the replica's cgroup
	RunDir string   // the node's
	Socket *os.File // the runner's end of its connection to the daemon
	Runner *os.File // the runner's program

	Monitor *os.File // the monitor's program

	// IDs are those of a user namespace of the container's own, in the network
	// namespace Netns; 0: it is in the machine's.
	IDs   wire.IDs
	Netns *os.File

	Foreign string // for the runner, see wire.ForeignEnv

	Version int // of the daemon (wire.Version)
}

type shim struct {
	opts   Options
	cgroup *os.File
	stdout *os.File // the reading ends
	stderr *os.File
	lazy   *lazy // of a restored container whose memory is not all there

	monitor wire.Monitor

	mu      sync.Mutex // guards what follows: signals come in between
	maker   int        // of the container: the runner, or CRIU; it may have ended
	init    int        // 0 until the runner says it
	stopped bool       // SIGTERM has come
}

// Run starts a runner and becomes the monitor of the container it makes. It
// returns when the runner has ended without a request, or made none.
func Run(opts Options) error {
	if err := opts.sameVersion(); err != nil {
		return errors.Join(err, tell(opts.Socket, err))
	}
	// The parent of the container's processes must be this one, not pid 1, once
	// the runner is gone.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("becoming the parent of orphans: %w", err)
	}
	dir, err := os.OpenFile(opts.Cgroup, unix.O_DIRECTORY|unix.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("opening the replica's cgroup: %w", err)
	}
	s := &shim{opts: opts, cgroup: dir}
	defer s.cleanUp()
	s.handleSignals()
	link, err := s.startRunner()
	if err != nil {
		return errors.Join(err, tell(opts.Socket, err))
	}
	return s.watch(link)
}

// sameVersion is an error where the daemon is of another release. It learns this program's
// version with the answer.
func (o Options) sameVersion() error {
	if o.Version == wire.Version {
		return nil
	}
	return &wire.VersionError{Ours: wire.Version, Theirs: o.Version}
}

// tell answers the daemon for a runner that could not be started.
func tell(socket *os.File, err error) error {
	conn, connErr := wire.Conn(socket)
	if connErr != nil {
		return connErr
	}
	return wire.Send(conn, wire.StartReply{Error: &wire.Error{Kind: wire.KindInternal, Message: err.Error()}})
}

// watch follows the runner's messages.
func (s *shim) watch(link *os.File) error {
	messages := json.NewDecoder(link)
	if err := messages.Decode(&s.monitor); err != nil {
		killGroup(s.cgroup) // the runner is ending, and what it has prepared has to
		s.reapAll()
		if errors.Is(err, io.EOF) {
			return nil // the daemon is gone, or did not need this runner
		}
		return fmt.Errorf("reading from the runner: %w", err)
	}
	_ = s.recordStreams() // without it there is no checkpoint, and that says so
	var started wire.Started
	if err := messages.Decode(&started); err != nil {
		return s.failed("the container could not be started")
	}
	s.setInit(started.Pid)
	if err := messages.Decode(&wire.Executed{}); err != nil {
		return s.failed("the container could not be started")
	}
	return s.become(monitor.Pages{})
}

// become has the monitor take over. It returns only if that fails: then nobody
// would watch the container.
func (s *shim) become(pages monitor.Pages) error {
	if err := logs.Prepare(s.monitor.LogDir); err != nil {
		_ = os.WriteFile(filepath.Join(s.monitor.Dir, "log-error"), []byte(err.Error()), 0o600) // best effort
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err := monitor.Exec(s.opts.Monitor, monitor.Options{
		Container: s.monitor, Cgroup: s.opts.Cgroup, LibDir: s.libDir(),
		Init: s.init, Maker: s.maker, Stop: s.stopped, Stdout: s.stdout, Stderr: s.stderr, Pages: pages,
	})
	return errors.Join(err, s.failed(err.Error()))
}

// failed ends a container that came to nothing. Who asked for it has been told
// why; who comes later finds it in exit.json.
func (s *shim) failed(why string) error {
	killGroup(s.cgroup)
	s.reapAll()
	s.drain()
	s.cleanUp() // before exit.json: who reads that finds the cgroup gone
	return wire.WriteFile(s.monitor.Dir, wire.ExitFile, wire.Exit{Code: -1, At: time.Now(), Failed: why})
}

// drain writes what is left in the pipes of a container that has ended into the
// log: it may say why.
func (s *shim) drain() {
	w, err := logs.OpenWriter(s.monitor.LogDir, logs.Options{
		Replica: s.monitor.ID, MaxSize: s.monitor.LogMaxSize, Files: s.monitor.LogFiles,
	})
	if err != nil {
		return // it is thrown away, as the monitor would
	}
	defer w.Close() // everything is written
	for stream, r := range map[string]*os.File{logs.Stdout: s.stdout, logs.Stderr: s.stderr} {
		_ = r.SetReadDeadline(time.Now().Add(drainTime))
		_ = w.Copy(stream, r) // ends with the pipe
	}
}

// cleanUp removes the replica's cgroup, which is empty when all children have
// been collected, and libcontainer's state. The daemon looks again.
func (s *shim) cleanUp() {
	_ = cgroupfd.EndBelow(s.opts.Cgroup, drainTime) // those of execs, whose processes have ended with init
	_ = unix.Rmdir(s.opts.Cgroup)
	_ = os.RemoveAll(s.libDir())
}

// libDir is libcontainer's record of the container.
func (s *shim) libDir() string {
	return filepath.Join(s.opts.RunDir, wire.LibDir, filepath.Base(s.opts.Cgroup))
}
