// Command fcnode-runner makes containers for the fcnode daemon, one per
// process; it is of no use by hand. See the package runtime/container/runner.
package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/fcnode/fcnode/runtime/container/runner"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // enters namespaces before the Go runtime has threads
	"golang.org/x/sys/unix"
)

// libcontainer starts this program anew as the container's init. That has to
// happen before main, on the main thread.
func init() {
	unix.Umask(wire.Umask) // before anything is made, and the container's program inherits it
	if len(os.Args) > 1 && os.Args[1] == "init" {
		runner.Gate()
		libcontainer.Init()
	}
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fcnode-runner:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 3 && args[0] == "serve":
		return runner.Serve(args[1], args[2], 0)
	case len(args) == 4 && args[0] == "serve":
		ids, err := strconv.ParseUint(args[3], 10, 32)
		if err != nil {
			return err
		}
		return runner.Serve(args[1], args[2], wire.IDs(ids))
	case len(args) == 1 && args[0] == "exec":
		return runner.Exec()
	}
	return errors.New("the fcnode daemon starts this program: fcnode-runner serve SLOT RUNDIR [IDS], or exec")
}
