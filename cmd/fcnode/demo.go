package main

import (
	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/runtime/demo"
)

func newDemo(e *env) *cobra.Command {
	var opts demo.Options
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Watch a site wake on its first packet",
		Long: `Starts a node and a client in network namespaces of their own, deploys a small web site
from an image that it makes on the spot, and shows how the first request wakes it,
how it is parked when nobody visits it, and how it wakes again. It uses no network and
leaves nothing behind. Root is needed.

On a terminal it then stays until Ctrl-C and says how to go on by hand.`,
		Args: cobra.NoArgs,
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		_, opts.Stay = e.columns()
		opts.Stdout, opts.Stderr = e.stdout, e.stderr
		return demo.Run(cmd.Context(), opts)
	}
	return cmd
}
