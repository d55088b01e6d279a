//go:build linux

package mounts

import (
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// In runs fn on a thread that is in the mount namespace of a process.
func In(pid int, fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		ns, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/mnt")
		if err == nil {
			defer ns.Close() // a namespace
			err = unix.Unshare(unix.CLONE_FS)
		}
		if err == nil {
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS)
		}
		if err != nil {
			done <- fmt.Errorf("entering the mount namespace of process %d: %w", pid, err)
			return
		}
		done <- fn()
	}()
	return <-done
}

// RootReadOnly makes the root that a process sees read-only, or writable.
func RootReadOnly(pid int, on bool) error {
	return In(pid, func() error {
		flags := uintptr(unix.MS_REMOUNT | unix.MS_BIND)
		if on {
			flags |= unix.MS_RDONLY
		}
		if err := unix.Mount("", "/", "", flags, ""); err != nil {
			return fmt.Errorf("changing the root of process %d: %w", pid, err)
		}
		return nil
	})
}
