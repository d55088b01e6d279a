// Command fcnode is the node: the daemon (`fcnode run`) and the tool to talk to
// it.
//
// There is a file for each command. A command parses its flags, calls one thing
// (the API's client, package check, the node) and prints the answer; it decides
// nothing. All of it runs in-process in the tests, through [env].
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/fcnode/fcnode/cmd/fcnode/internal/terminal"
	"github.com/fcnode/fcnode/runtime/check"
	"github.com/fcnode/fcnode/runtime/node"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal ends things in order, the second at once.
	context.AfterFunc(ctx, stop)
	os.Exit(execute(ctx, &env{
		stdin:   os.Stdin,
		stdout:  terminal.NewPlain(os.Stdout),
		stderr:  terminal.NewPlain(os.Stderr),
		getenv:  os.Getenv,
		now:     time.Now,
		columns: func() (int, bool) { return terminal.Width(os.Stdout) },
		interactive: func() bool {
			_, ok := terminal.File(os.Stdin)
			return ok
		},
		machine: check.Local{},
		node:    runNode,
		remove:  teardownNode,
		take:    node.ImportState,
	}, os.Args[1:]))
}
