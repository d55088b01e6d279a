package shim

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"

	"github.com/fcnode/fcnode/runtime/cgroup/cgroupfd"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"golang.org/x/sys/unix"
)

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

func (s *shim) setMaker(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.maker = pid
}

// reapAll collects the children that are left.
func (s *shim) reapAll() {
	for {
		if _, err := unix.Wait4(-1, nil, 0, nil); err != nil && !errors.Is(err, unix.EINTR) {
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
}

// handleSignals makes the shim outlive its terminal and its daemon. Asked to end,
// as at shutdown, it ends what makes the container; if that is there already, the
// monitor ends it.
func (s *shim) handleSignals() {
	// Caught, not ignored: what is ignored would be so in the container as well.
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGPIPE, unix.SIGQUIT)
	terms := make(chan os.Signal, 1)
	signal.Notify(terms, unix.SIGTERM)
	go func() {
		for range terms {
			s.mu.Lock()
			s.stopped = true
			if s.init == 0 && s.maker != 0 {
				_ = unix.Kill(s.maker, unix.SIGKILL) // a child of this process: not reaped, so not reused
			}
			s.mu.Unlock()
		}
	}()
}
