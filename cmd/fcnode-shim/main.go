//go:build linux

// Command fcnode-shim is the monitor of one container. The fcnode daemon starts
// it; it is of no use by hand. See the package runtime/container/shim.
package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"syscall"

	"github.com/fcnode/fcnode/runtime/container/shim"
)

// The descriptors that the daemon passes on.
const (
	socketFD = 3 + iota
	runnerFD
)

func main() {
	debug.SetGCPercent(20) // one shim per container: small matters more than fast
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "fcnode-shim: the fcnode daemon starts this program: fcnode-shim CGROUP RUNDIR")
		os.Exit(2)
	}
	err := shim.Run(shim.Options{
		Cgroup: os.Args[1], RunDir: os.Args[2],
		Socket: inherited(socketFD, "socket"), Runner: inherited(runnerFD, "runner"),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "fcnode-shim:", err)
		os.Exit(1)
	}
}

// inherited names a descriptor and keeps it from being inherited further.
func inherited(fd int, name string) *os.File {
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), name)
}
