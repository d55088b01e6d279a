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
	lazy   *lazy  // of a restored container whose memory is not all there
	unable string // why the container could not go on

	mu      sync.Mutex // guards what follows: signals come in between
	runner  int        // what makes the container: the runner, or CRIU; 0 when it has ended
	init    int        // 0 until the runner says it
	stopped bool       // SIGTERM has come
	monitor wire.Monitor
}

// Run starts a runner and monitors the container it makes. It returns when
// that has ended, or when the runner has ended without a request.
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

// watch follows the runner's messages and the ends of children.
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
	copied := s.copyOutput()
	var started wire.Started
	if err := messages.Decode(&started); err != nil {
		return s.failed(copied)
	}
	s.setInit(started.Pid)
	if err := messages.Decode(&wire.Executed{}); err != nil {
		return s.failed(copied)
	}
	_ = link.Close() // nothing more comes
	status := s.reapUntil(started.Pid)
	return s.finish(status, copied)
}

// failed ends a start that came to nothing. The runner has told the daemon why.
func (s *shim) failed(copied <-chan struct{}) error {
	killGroup(s.cgroup)
	s.reapAll()
	<-copied
	return wire.WriteFile(s.monitor.Dir, wire.ExitFile, wire.Exit{
		Code: -1, At: time.Now(), Failed: "the container could not be started",
	})
}

// finish records the end of the container.
func (s *shim) finish(status unix.WaitStatus, copied <-chan struct{}) error {
	s.endMaker()
	exit := wire.Exit{At: time.Now(), Failed: s.unable}
	switch {
	case status.Signaled():
		exit.Code = 128 + int(status.Signal())
		exit.Signal = unix.SignalName(status.Signal())
	default:
		exit.Code = status.ExitStatus()
	}
	if kills, err := cgroupfd.OOMKills(s.cgroup); err == nil && kills > 0 {
		exit.OOM = true
	}
	select {
	case <-copied:
	case <-time.After(drainTime):
	}
	s.reapAll()
	s.cleanUp() // before exit.json: who reads that finds the cgroup gone
	return wire.WriteFile(s.monitor.Dir, wire.ExitFile, exit)
}

// copyOutput copies both streams into the log until they end. Without a log the
// output is thrown away: a site must not stop because of its log.
func (s *shim) copyOutput() <-chan struct{} {
	done := make(chan struct{})
	_ = s.recordStreams() // without it there is no checkpoint, and that says so
	w, err := logs.OpenWriter(s.monitor.LogDir, logs.Options{
		Replica: s.monitor.ID, MaxSize: s.monitor.LogMaxSize, Files: s.monitor.LogFiles,
	})
	if err != nil {
		_ = os.WriteFile(filepath.Join(s.monitor.Dir, "log-error"), []byte(err.Error()), 0o600) // best effort
	}
	var wg sync.WaitGroup
	for stream, r := range map[string]*os.File{logs.Stdout: s.stdout, logs.Stderr: s.stderr} {
		wg.Go(func() {
			if err != nil {
				_, _ = io.Copy(io.Discard, r)
				return
			}
			_ = w.Copy(stream, r) // ends with the pipe
		})
	}
	go func() {
		wg.Wait()
		if err == nil {
			_ = w.Close() // everything is written
		}
		close(done)
	}()
	return done
}

// cleanUp removes the replica's cgroup, which is empty when all children have
// been collected, and libcontainer's state. The daemon looks again.
func (s *shim) cleanUp() {
	_ = cgroupfd.EndBelow(s.opts.Cgroup, drainTime) // those of execs, whose processes have ended with init
	_ = unix.Rmdir(s.opts.Cgroup)
	_ = os.RemoveAll(filepath.Join(s.opts.RunDir, wire.LibDir, filepath.Base(s.opts.Cgroup)))
}
