package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newDelete(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete SITE...",
		Short: "Stop and delete sites",
		Long: `Stops the sites' replicas and deletes the sites, their addresses and their logs.
Volumes stay. A site whose spec is in the daemon's sitesDir comes back when the daemon
restarts.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeSites(e, 0),
	}
	cmd.RunE = func(cmd *cobra.Command, names []string) error {
		client := e.client()
		defer client.Close()
		for _, name := range names {
			if err := client.Delete(cmd.Context(), name); err != nil {
				return err
			}
			fmt.Fprintf(e.stdout, "%s  deleted\n", name)
		}
		return nil
	}
	return cmd
}
