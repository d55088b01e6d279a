package priority

import (
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Sem is a counting semaphore of the kernel (eventfd). The kernel itself wakes
// the thread that gets the next unit; channels and locks leave that to whichever
// of Go's threads gets a processor. All methods but Close accept nil.
type Sem struct{ fd int }

// NewSem makes a semaphore of count units.
func NewSem(count uint) (*Sem, error) {
	fd, err := unix.Eventfd(count, unix.EFD_CLOEXEC|unix.EFD_SEMAPHORE)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	return &Sem{fd: fd}, nil
}

// Take waits for a unit.
func (s *Sem) Take() {
	if s == nil {
		return
	}
	var one [8]byte
	for {
		// nothing but a signal can come instead
		if _, err := unix.Read(s.fd, one[:]); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// Give adds a unit.
func (s *Sem) Give() {
	if s == nil {
		return
	}
	_, _ = unix.Write(s.fd, binary.NativeEndian.AppendUint64(nil, 1)) // it would take 2^64 of them to fill it
}

// Close frees the semaphore; nobody may wait for it any more.
func (s *Sem) Close() error { return unix.Close(s.fd) }
