package cgroup

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// privateEnv marks a process that runs in fcnode's private mount namespace. It
// has to be the environment: nothing else of a process survives its own exec.
const privateEnv = "FCNODE_PRIVATE_CGROUP"

// outerEnv names the descriptor of the mount namespace that EnterPrivate left.
const outerEnv = "FCNODE_OUTER_MOUNTS"

// Outer is the mount namespace that EnterPrivate has left: mounts made in it
// outlive this process. It is nil in a process that has not moved, and may be
// asked for once; the caller closes it.
func Outer() *os.File {
	fd, err := strconv.Atoi(os.Getenv(outerEnv))
	if err != nil || !private() {
		return nil
	}
	_ = os.Unsetenv(outerEnv) // not for the processes that this one starts
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "outer mount namespace")
}

func private() bool { return os.Getenv(privateEnv) == "1" }

// EnterPrivate makes sure that this process sees cgroup v2 at Mountpoint. Call
// it first in main. Where the machine has cgroup v2 there it does nothing. On a
// hybrid or v1 machine it moves into a mount namespace of its own (which still
// receives the machine's mounts, but sends none back), mounts cgroup v2 there
// and executes the program anew, so that all of its threads are inside; then it
// does not return. The machine's own mounts are never changed.
func EnterPrivate() error {
	unified, err := isCgroup2(Mountpoint)
	if err != nil {
		return fmt.Errorf("look for cgroup v2: %w; fcnode needs a kernel with cgroup v2 and /sys mounted", err)
	}
	if unified {
		return nil
	}
	if private() {
		return fmt.Errorf("%s is set but %s is not cgroup v2; unset the variable, fcnode sets it itself", privateEnv, Mountpoint)
	}
	// Namespaces belong to threads: stay on this one until the exec.
	runtime.LockOSThread()
	// inherited over the exec, so not closed by it
	outer, err := unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("open the machine's mount namespace: %w", err)
	}
	if err := mountPrivate(); err != nil {
		return errors.Join(err, unix.Close(outer))
	}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("find the running program: %w", err)
	}
	env := append(os.Environ(), privateEnv+"=1", outerEnv+"="+strconv.Itoa(outer))
	return fmt.Errorf("execute %s in its private mount namespace: %w", exe, unix.Exec(exe, os.Args, env))
}

func mountPrivate() error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		hint := ""
		if errors.Is(err, unix.EPERM) {
			hint = " (fcnode needs CAP_SYS_ADMIN: run it as root)"
		}
		return fmt.Errorf("make a private mount namespace for cgroup v2: %w%s", err, hint)
	}
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("keep mounts private: %w", err)
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("cgroup2", Mountpoint, "cgroup2", flags, ""); err != nil {
		return fmt.Errorf("mount cgroup v2 at %s in a private mount namespace: %w", Mountpoint, err)
	}
	return nil
}
