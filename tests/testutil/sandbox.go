package testutil

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ownCgroup is the child of the sandbox's cgroup that holds the test binary.
const ownCgroup = "main"

// supervise runs this binary again inside of the sandbox and returns its exit code.
func supervise() (int, error) {
	// Locked, because Pdeathsig is about the thread that forks, not the process.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 1, fmt.Errorf("becoming the subreaper of the tests: %w", err)
	}
	cg, err := makeCgroup()
	if err != nil {
		return 1, err
	}
	pid, err := syscall.ForkExec("/proc/self/exe", os.Args, &syscall.ProcAttr{
		Env:   append(os.Environ(), envStage+"="+stageSetup),
		Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{
			Unshareflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP,
			UseCgroupFD:  true,
			CgroupFD:     int(cg.dir.Fd()),
			Pdeathsig:    syscall.SIGKILL,
		},
	})
	if err != nil {
		return 1, errors.Join(fmt.Errorf("starting the tests in namespaces of their own: %w", err), cg.remove())
	}
	forwardSignals(pid)
	code, err := reapUntil(pid)
	if err != nil {
		return 1, err
	}
	leaks := leftProcesses(Timeout(endsWithin))
	leaks = append(leaks, cg.left()...)
	return report(leaks, code), cg.remove()
}

// forwardSignals passes on what asks the tests to stop. Go's test runner sends SIGQUIT after a timeout.
func forwardSignals(pid int) {
	c := make(chan os.Signal, 4)
	signal.Notify(c, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT, unix.SIGHUP)
	go func() {
		for s := range c {
			if err := syscall.Kill(pid, s.(syscall.Signal)); err != nil {
				return
			}
		}
	}()
}

// reapUntil reaps all children, orphans of the tests among them, until pid has ended.
func reapUntil(pid int) (int, error) {
	for {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return 1, fmt.Errorf("waiting for the tests (process %d): %w", pid, err)
		case got == pid && status.Signaled():
			return 1, fmt.Errorf("the test binary was ended by %v", status.Signal())
		case got == pid:
			return status.ExitStatus(), nil
		}
	}
}

// leftProcesses gives what the tests started up to d to end, then kills and names what is left.
func leftProcesses(d time.Duration) []string {
	var leaks []string
	for deadline := time.Now().Add(d); ; time.Sleep(pollInterval) {
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if err == syscall.ECHILD {
				return leaks
			}
			if err != syscall.EINTR && pid <= 0 {
				break
			}
		}
		if time.Now().Before(deadline) {
			continue
		}
		// Children of what is killed become ours and are met in the next round.
		for pid, name := range children(os.Getpid()) {
			leaks = append(leaks, fmt.Sprintf("process %d (%s) still ran after the tests", pid, name))
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may just have ended
		}
	}
}

// children lists the living children of a process with their command lines.
func children(parent int) map[int]string {
	found := map[int]string{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is well-formed
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it ended meanwhile
		}
		// The name may contain anything, so the fields are counted from its last ')': state, ppid.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) < 2 || fields[1] != strconv.Itoa(parent) || fields[0] == "Z" {
			continue
		}
		dir := filepath.Dir(path)
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		cmd, _ := os.ReadFile(dir + "/cmdline") // only for the message
		found[pid] = strings.TrimSpace(strings.ReplaceAll(string(cmd), "\x00", " "))
	}
	return found
}

// enter is the first thing the unshared child does: it mounts what the tests use
// under the usual names.
func enter() error {
	mounts := []struct {
		fstype, target string
		optional       bool
	}{
		{"sysfs", "/sys", false}, // shows this network namespace's devices
		{"cgroup2", "/sys/fs/cgroup", false},
		{"bpf", "/sys/fs/bpf", false},
		{"tracefs", "/sys/kernel/tracing", true},
		{"securityfs", "/sys/kernel/security", true},
		{"tmpfs", "/run", false},
	}
	for _, m := range mounts {
		if err := unix.Mount(m.fstype, m.target, m.fstype, 0, ""); err != nil && !m.optional {
			return fmt.Errorf("mounting %s on %s: %w", m.fstype, m.target, err)
		}
	}
	own := "/sys/fs/cgroup/" + ownCgroup
	if err := os.Mkdir(own, 0o755); err != nil {
		return fmt.Errorf("making the cgroup of the test binary: %w", err)
	}
	if err := os.WriteFile(own+"/cgroup.procs", []byte("0"), 0); err != nil {
		return fmt.Errorf("entering the cgroup of the test binary: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("setting lo up: %w", err)
	}
	return os.Setenv(envStage, stageInside)
}
