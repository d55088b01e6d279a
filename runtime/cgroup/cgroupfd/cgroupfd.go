// Package cgroupfd reads what a process needs to know of a cgroup that it holds
// by a descriptor. It imports next to nothing, for the sake of the shim.
package cgroupfd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Mountpoint is where cgroup v2 is expected. libcontainer knows no other place.
const Mountpoint = "/sys/fs/cgroup"

// OOMKills is how many processes of the cgroup the kernel has killed for lack
// of memory; 0 where memory is not accounted.
func OOMKills(dir *os.File) (uint64, error) {
	events, err := read(dir, "memory.events")
	if errors.Is(err, unix.ENOENT) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return ParseOOMKills(events)
}

// ParseOOMKills reads oom_kill out of the text of memory.events.
func ParseOOMKills(events string) (uint64, error) {
	for line := range strings.Lines(events) {
		if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
			return strconv.ParseUint(strings.TrimSpace(n), 10, 64)
		}
	}
	return 0, nil
}

// Procs lists the processes in the cgroup, as seen from the caller's PID
// namespace.
func Procs(dir *os.File) ([]int, error) {
	text, err := read(dir, "cgroup.procs")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, f := range strings.Fields(text) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			return nil, fmt.Errorf("process %q in cgroup %s: %w", f, dir.Name(), err)
		}
		if pid > 0 { // 0 is a process of another PID namespace
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func read(dir *os.File, name string) (string, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open %s of cgroup %s: %w", name, dir.Name(), err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close() // read only
	b, err := io.ReadAll(f)
	if err != nil {
		return "", fmt.Errorf("read %s of cgroup %s: %w", name, dir.Name(), err)
	}
	return string(b), nil
}
