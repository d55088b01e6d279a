package archive

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/thread"
)

// nobody owns what has no owner in a user namespace.
const nobody = 65534

// Owners says which numbers users and groups have outside of the user namespace that
// an archive is of. The zero value is for the machine's own.
type Owners struct {
	first, count uint32 // of the machine; count 0: they are the same
}

// OwnersOf reads the numbers of a process' user namespace.
func OwnersOf(pid int) (Owners, error) {
	path := fmt.Sprintf("/proc/%d/uid_map", pid)
	text, err := os.ReadFile(path)
	if err != nil {
		return Owners{}, err
	}
	o, err := parseOwners(string(text))
	if err != nil {
		return Owners{}, fmt.Errorf("%s: %w", path, err)
	}
	return o, nil
}

// parseOwners reads a map of one line. Sites have no other.
func parseOwners(text string) (o Owners, err error) {
	fields := strings.Fields(text)
	if len(fields) != 3 || fields[0] != "0" {
		return o, fmt.Errorf("%q is not one range from 0 on", text)
	}
	var numbers [2]uint64
	for i, f := range fields[1:] {
		if numbers[i], err = strconv.ParseUint(f, 10, 32); err != nil {
			return o, err
		}
	}
	if numbers[0] == 0 {
		return Owners{}, nil
	}
	return Owners{first: uint32(numbers[0]), count: uint32(numbers[1])}, nil
}

// inside gives the number of a user or group in the namespace.
func (o Owners) inside(id uint32) int {
	switch {
	case o.count == 0:
		return int(id)
	case id < o.first || id-o.first >= o.count:
		return nobody
	}
	return int(id - o.first)
}

// outside gives the machine's number for one of the namespace.
func (o Owners) outside(id int) (int, error) {
	// The largest number means none to the kernel.
	if id < 0 || int64(id) >= 1<<32-1 || o.count != 0 && uint32(id) >= o.count {
		return 0, fmt.Errorf("there is no user or group %d in it", id)
	}
	return int(o.first) + id, nil
}

// as calls f as the root of the namespace, as whom files have to be made in mounts
// with mapped owners; what root of the machine may otherwise do it may do, too.
func (o Owners) as(f func() error) error {
	if o.count == 0 {
		return f()
	}
	return thread.Throwaway(func() error {
		// Without it the capabilities that concern files go with root's number.
		if err := unix.Prctl(unix.PR_SET_SECUREBITS, secbitNoSetuidFixup, 0, 0, 0); err != nil {
			return os.NewSyscallError("prctl", err)
		}
		if err := unix.Setfsgid(int(o.first)); err != nil {
			return os.NewSyscallError("setfsgid", err)
		}
		if err := unix.Setfsuid(int(o.first)); err != nil {
			return os.NewSyscallError("setfsuid", err)
		}
		return f()
	})
}

// secbitNoSetuidFixup is SECBIT_NO_SETUID_FIXUP of capabilities(7).
const secbitNoSetuidFixup = 1 << 2
