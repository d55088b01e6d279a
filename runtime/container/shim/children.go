package shim

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"time"

	"github.com/fcnode/fcnode/runtime/cgroup/cgroupfd"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"golang.org/x/sys/unix"
)

// stopGrace is how long a container gets to end when the machine goes down and
// the shim is asked to end.
const stopGrace = 8 * time.Second

// startRunner starts the runner inside the replica's cgroup and in a mount
// namespace of its own (birth). The container's processes are born into the same
// cgroup. It returns the reading end of the runner's messages.
func (s *shim) startRunner() (*os.File, error) {
	var ends [3]*os.File // writing ends: stdout, stderr, messages
	var reads [3]*os.File
	for i := range ends {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, fmt.Errorf("making a pipe: %w", err)
		}
		reads[i], ends[i] = r, w
	}
	// By this process' number, as the descriptors of the child are others.
	cmd := exec.Command(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), s.opts.Runner.Fd()),
		"serve", filepath.Base(s.opts.Cgroup), s.opts.RunDir)
	if s.opts.IDs != 0 {
		cmd.Args = append(cmd.Args, strconv.FormatUint(uint64(s.opts.IDs), 10))
	}
	cmd.Args[0] = "fcnode-runner"
	cmd.Env = []string{"GOGC=off"} // it allocates a few MB once, then it is gone
	if s.opts.Foreign != "" {
		cmd.Env = append(cmd.Env, wire.ForeignEnv+"="+s.opts.Foreign)
	}
	cmd.ExtraFiles = []*os.File{s.opts.Socket, ends[0], ends[1], ends[2]}
	if s.opts.IDs != 0 {
		cmd.ExtraFiles = append(cmd.ExtraFiles, s.opts.Netns)
	}
	cmd.SysProcAttr = s.birth()
	hugePages(false)
	err := cmd.Start()
	hugePages(true)
	if err != nil {
		return nil, fmt.Errorf("starting the runner: %w", err)
	}
	for _, f := range append(cmd.ExtraFiles, s.opts.Runner) {
		_ = f.Close() // the runner has its own
	}
	s.setMaker(cmd.Process.Pid)
	s.stdout, s.stderr = reads[0], reads[1]
	return reads[2], nil
}

// hugePages forbids huge pages to the programs that are started, or allows them
// again. Where they are given unasked, as on Debian, the runner and the init
// that wait would hold 6 MiB more than they need. The gate allows them to init
// before it becomes the container's program.
func hugePages(allow bool) {
	var forbid uintptr
	if !allow {
		forbid = 1
	}
	_ = unix.Prctl(unix.PR_SET_THP_DISABLE, forbid, 0, 0, 0) // a kernel without any
}

// reapUntil collects children until pid has ended.
func (s *shim) reapUntil(pid int) unix.WaitStatus {
	for {
		got, status, ok := reap(0)
		if !ok || got == pid {
			return status
		}
		s.makerEnded(got)
		if s.lazy != nil && got == s.lazy.server.Pid() {
			if err := s.lazyEnded(status); err != nil {
				s.unable = err.Error()
			}
		}
	}
}

func (s *shim) setMaker(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runner = pid
}

// makerEnded notes the end of the process that has made the container.
func (s *shim) makerEnded(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if pid == s.runner {
		s.runner = 0
	}
}

// endMaker ends that process if it is still there when the container has ended:
// it may be frozen with it.
func (s *shim) endMaker() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runner != 0 {
		_ = unix.Kill(s.runner, unix.SIGKILL) // a child of this process: not reaped, so not reused
	}
}

// reapAll collects the children that are left.
func (s *shim) reapAll() {
	for {
		if _, _, ok := reap(0); !ok {
			return
		}
	}
}

// reapSome collects the children that have ended, and says whether others are
// left.
func reapSome() bool {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR), pid > 0:
		default:
			return err == nil
		}
	}
}

// reap waits for the end of any child.
func reap(flags int) (int, unix.WaitStatus, bool) {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, flags, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return pid, status, err == nil && pid > 0
	}
}

// killGroup kills every process in the cgroup.
func killGroup(dir *os.File) {
	pids, err := cgroupfd.Procs(dir)
	if err != nil {
		return // gone
	}
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGKILL) // a child of this process: not reaped, so not reused
	}
}

func (s *shim) setInit(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.init = pid
	if s.stopped {
		go s.stopInit(pid)
	}
}

// handleSignals makes the shim outlive its terminal and its daemon, and end its
// container first when it is asked to end, as at shutdown.
func (s *shim) handleSignals() {
	// Caught, not ignored: what is ignored would be so in the container as well.
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGPIPE, unix.SIGQUIT)
	terms := make(chan os.Signal, 1)
	signal.Notify(terms, unix.SIGTERM)
	go func() {
		for range terms {
			s.mu.Lock()
			again, pid := s.stopped, s.init
			s.stopped = true
			s.mu.Unlock()
			switch {
			case again:
			case pid != 0:
				go s.stopInit(pid)
			default:
				s.endMaker()
			}
		}
	}()
}

// stopInit signals the container's init, and kills it after a while. The shim
// ends with it, so it does not matter that the number is free after that.
func (s *shim) stopInit(pid int) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return // has ended
	}
	_ = unix.PidfdSendSignal(fd, unix.Signal(s.monitor.StopSignal), nil, 0)
	time.AfterFunc(stopGrace, func() { _ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) })
}
