package mounts

import (
	"fmt"
	"os"
	"strconv"

	"github.com/fcnode/fcnode/runtime/thread"
	"golang.org/x/sys/unix"
)

// In runs fn on a thread that is in the mount namespace of a process.
func In(pid int, fn func() error) error {
	return thread.Throwaway(func() error {
		ns, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/mnt")
		if err == nil {
			defer ns.Close() // a namespace
			err = unix.Unshare(unix.CLONE_FS)
		}
		if err == nil {
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS)
		}
		if err != nil {
			return fmt.Errorf("entering the mount namespace of process %d: %w", pid, err)
		}
		return fn()
	})
}

// RootReadOnly makes the root that a process sees read-only, or writable. suid
// is as in Root.
func RootReadOnly(pid int, on, suid bool) error {
	return In(pid, func() error {
		flags := rootFlags(suid) | unix.MS_REMOUNT | unix.MS_BIND
		if on {
			flags |= unix.MS_RDONLY
		}
		if err := unix.Mount("", "/", "", flags, ""); err != nil {
			return fmt.Errorf("changing the root of process %d: %w", pid, err)
		}
		return nil
	})
}
