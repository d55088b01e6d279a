package wire

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// ErrGone is returned for a process that has ended, even if its number is in
// use again.
var ErrGone = errors.New("the process has ended")

// Process names a process so that a later one with the same number is not
// taken for it.
type Process struct {
	Pid   int    `json:"pid"`
	Start uint64 `json:"start"` // since boot, in clock ticks: field 22 of /proc/PID/stat
}

// FindProcess names the process that has the number now.
func FindProcess(pid int) (Process, error) {
	start, err := startTime(pid)
	return Process{Pid: pid, Start: start}, err
}

// Open returns a pidfd of the process, or ErrGone.
func (p Process) Open() (*os.File, error) {
	fd, err := unix.PidfdOpen(p.Pid, unix.O_NONBLOCK) // so that the runtime can poll it
	if err != nil {
		if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
			return nil, fmt.Errorf("process %d: %w", p.Pid, ErrGone)
		}
		return nil, fmt.Errorf("opening a descriptor of process %d: %w", p.Pid, err)
	}
	// The descriptor is held: the number cannot change its owner between the
	// look at the start time and the use of the descriptor.
	start, err := startTime(p.Pid)
	if err != nil || start != p.Start {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("process %d: %w", p.Pid, ErrGone)
	}
	return os.NewFile(uintptr(fd), fmt.Sprintf("pidfd:%d", p.Pid)), nil
}

// WaitEnd waits until the process of a pidfd has ended. It parks a goroutine in
// the runtime's poller, not a thread, as there is one wait per container.
// Closing the file ends the wait with an error.
func WaitEnd(pidfd *os.File) error {
	conn, err := pidfd.SyscallConn()
	if err != nil {
		return fmt.Errorf("waiting for %s: %w", pidfd.Name(), err)
	}
	var pollErr error
	err = conn.Read(func(fd uintptr) bool {
		var over bool
		over, pollErr = readable(fd)
		return over || pollErr != nil
	})
	if err = errors.Join(err, pollErr); err != nil {
		return fmt.Errorf("waiting for %s: %w", pidfd.Name(), err)
	}
	return nil
}

// Ended tells whether the process of a pidfd has ended; a zombie has.
func Ended(pidfd *os.File) (bool, error) {
	over, err := readable(pidfd.Fd())
	if err != nil {
		return false, fmt.Errorf("looking at %s: %w", pidfd.Name(), err)
	}
	return over, nil
}

// readable asks again when a signal came between, even without waiting (poll(2), EINTR): the runtime's poller would not
// tell of the same end twice.
func readable(fd uintptr) (bool, error) {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		if !errors.Is(err, unix.EINTR) {
			return n > 0, err
		}
	}
}

func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, fmt.Errorf("process %d: %w", pid, ErrGone)
	}
	// The name in parentheses may hold anything; fields are counted after it.
	_, rest, ok := bytes.Cut(b[bytes.LastIndexByte(b, ')')+1:], []byte(" "))
	fields := bytes.Fields(rest)
	const startField = 22 - 3 // the first field after the name is the third
	if !ok || len(fields) <= startField {
		return 0, fmt.Errorf("process %d: cannot read /proc/%d/stat: %q", pid, pid, b)
	}
	return strconv.ParseUint(string(fields[startField]), 10, 64)
}

// Now is CLOCK_MONOTONIC in nanoseconds, the clock that all processes of a
// machine share and that the kernel's events carry.
func Now() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // cannot fail
	return ts.Nano()
}
