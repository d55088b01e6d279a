package netctl

import (
	"fmt"
	"os"

	"github.com/fcnode/fcnode/runtime/thread"
	"golang.org/x/sys/unix"
)

// currentNetns opens the network namespace of the calling thread.
func currentNetns() (*os.File, error) {
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("open the current network namespace: %w", err)
	}
	return f, nil
}

// inNewNetns runs f on a thread inside of a network namespace made for it.
func inNewNetns(f func(ns *os.File) error) error {
	return thread.Throwaway(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		ns, err := currentNetns()
		if err != nil {
			return err
		}
		if err := f(ns); err != nil {
			ns.Close()
			return err
		}
		return nil
	})
}
