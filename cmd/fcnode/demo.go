package main

import (
	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/cmd/fcnode/internal/terminal"
	"github.com/fcnode/fcnode/runtime/demo"
)

func newDemo(e *env) *cobra.Command {
	var opts demo.Options
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Watch a site wake on its first packet",
		Long: `Starts a node and a client in network namespaces of their own, deploys a small web site
from an image that it builds on the spot, and shows how the first request wakes the
site, how the idle site is parked, and how it wakes again. It needs root, uses no
network and leaves nothing behind.

On a terminal it then stays until Ctrl-C and prints commands to try.`,
		Args: cobra.NoArgs,
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		_, opts.Stay = e.columns()
		opts.Stdout, opts.Stderr = terminal.Raw(e.stdout), terminal.Raw(e.stderr)
		return demo.Run(cmd.Context(), opts)
	}
	return cmd
}
