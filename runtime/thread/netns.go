package thread

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// InNetns runs f on a thread inside of a network namespace. Processes that f starts
// are born there.
func InNetns(ns *os.File, f func() error) error {
	return Throwaway(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", ns.Name(), err)
		}
		return f()
	})
}
