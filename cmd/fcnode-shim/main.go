// Command fcnode-shim is the monitor of one container until that runs, and then
// becomes fcnode-monitor. The fcnode daemon starts it; it is of no use by hand. See
// the packages runtime/container/shim and runtime/container/monitor.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"

	"github.com/fcnode/fcnode/runtime/container/shim"
	"github.com/fcnode/fcnode/runtime/container/wire"
)

// The descriptors that the daemon passes on.
const (
	socketFD = 3 + iota
	runnerFD
	monitorFD
	netnsFD // with a user namespace alone
)

// The first thread of the process has to be the one that restores: it is known
// by the process' number.
func init() {
	runtime.LockOSThread()
	// The daemon executes an open file, and the kernel would call the process
	// by its number.
	_ = os.WriteFile("/proc/self/comm", []byte("fcnode-shim"), 0) // for people
}

func main() {
	syscall.Umask(wire.Umask)
	debug.SetGCPercent(20) // those that wait should be small
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fcnode-shim:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) > 3 && args[0] == shim.StageArg {
		ids, err := strconv.ParseUint(args[1], 10, 32)
		if err != nil {
			return err
		}
		return shim.Stage(wire.IDs(ids), args[2], args[3:])
	}
	var ids uint64
	var err error
	if len(args) > 2 && args[0] == "userns" {
		if ids, err = strconv.ParseUint(args[1], 10, 32); err != nil {
			return err
		}
		args = args[2:]
	}
	switch {
	case len(args) == 2:
		runtime.UnlockOSThread()
		return shim.Run(options(wire.IDs(ids), args))
	case len(args) == 4 && args[0] == "restore":
		return shim.RunRestore(options(wire.IDs(ids), args[2:]), args[1])
	}
	return errors.New("the fcnode daemon starts this program: fcnode-shim [userns IDS] [restore CRIU] CGROUP RUNDIR")
}

func options(ids wire.IDs, args []string) shim.Options {
	version, _ := strconv.Atoi(os.Getenv(wire.VersionEnv)) // 0 of a daemon that says nothing
	o := shim.Options{
		IDs:    ids,
		Cgroup: args[0], RunDir: args[1], Version: version, Foreign: os.Getenv(wire.ForeignEnv),
		Socket: inherited(socketFD, "socket"), Runner: inherited(runnerFD, "runner"),
		Monitor: inherited(monitorFD, "monitor"),
	}
	if ids != 0 {
		o.Netns = inherited(netnsFD, "network namespace")
	}
	return o
}

// inherited names a descriptor and keeps it from being inherited further.
func inherited(fd int, name string) *os.File {
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), name)
}
