package container

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// sealed copies a program into memory that nobody can write to. Processes that
// are started from the copy cannot harm the program on disk, not even a
// container that gets hold of /proc/<runner>/exe (CVE-2019-5736); libcontainer
// recognises such a copy and does without a protection of its own in each start.
// One copy, of the program's size, serves all containers.
func sealed(path string) (*os.File, error) {
	src, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the runner: %w; is fcnode installed completely?", err)
	}
	defer src.Close() // read only
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("fcnode-runner", flags|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3 all are executable
		fd, err = unix.MemfdCreate("fcnode-runner", flags)
	}
	if err != nil {
		return nil, fmt.Errorf("making a memory file for the runner: %w", err)
	}
	mem := os.NewFile(uintptr(fd), "fcnode-runner")
	if _, err := io.Copy(mem, src); err != nil {
		return nil, errors.Join(fmt.Errorf("copying the runner %s: %w", path, err), mem.Close())
	}
	if err := seal(mem); err != nil {
		return nil, errors.Join(fmt.Errorf("sealing the copy of the runner: %w", err), mem.Close())
	}
	return mem, nil
}

// sealTime bounds the attempts to seal. The kernel refuses (EBUSY) while anybody holds one of the pages, after a
// wait of some 150 ms for that to end: it may be the kernel itself, which samples, moves or writes back memory.
const sealTime = 10 * time.Second

// seal lets nobody change a memory file any more.
func seal(mem *os.File) error {
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	for end := time.Now().Add(sealTime); ; {
		_, err := unix.FcntlInt(mem.Fd(), unix.F_ADD_SEALS, seals)
		if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return err
		}
	}
}
