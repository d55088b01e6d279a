package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newDelete(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete SITE...",
		Short: "Stop sites and delete them",
		Long: `Stops the replicas of the sites and deletes the sites with their addresses and
logs. Their volumes stay. A site whose spec lies in the daemon's folder of sites
comes back when the daemon is started again.`,
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
