//go:build linux

package container

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// waitEnd waits until the process of a pidfd has ended. It parks a goroutine in
// the runtime's poller, not a thread, as there is one wait per container.
// Closing the file ends the wait with an error.
func waitEnd(pidfd *os.File) error {
	conn, err := pidfd.SyscallConn()
	if err != nil {
		return fmt.Errorf("waiting for %s: %w", pidfd.Name(), err)
	}
	var pollErr error
	err = conn.Read(func(fd uintptr) bool {
		var n int
		n, pollErr = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		if errors.Is(pollErr, unix.EINTR) {
			pollErr = nil
			return false
		}
		return n > 0 || pollErr != nil
	})
	if err = errors.Join(err, pollErr); err != nil {
		return fmt.Errorf("waiting for %s: %w", pidfd.Name(), err)
	}
	return nil
}

// signalProcess signals the process of a pidfd; one that has ended is fine.
func signalProcess(pidfd *os.File, sig unix.Signal) error {
	conn, err := pidfd.SyscallConn() // Fd() would take the file out of the poller
	if err == nil {
		var sent error
		err = conn.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), sig, nil, 0) })
		err = errors.Join(err, sent)
	}
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("sending %s to %s: %w", unix.SignalName(sig), pidfd.Name(), err)
	}
	return nil
}
