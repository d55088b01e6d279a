package container

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

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
