package container

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// swap switches a swap area on or off.
func swap(call uintptr, device string) error {
	name, err := unix.BytePtrFromString(device)
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(call, uintptr(unsafe.Pointer(name)), 0, 0); errno != 0 {
		return fmt.Errorf("swap area %s: %w", device, errno)
	}
	return nil
}
