package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newDelete(e *env) *cobra.Command {
	var purge bool
	cmd := &cobra.Command{
		Use:   "delete SITE...",
		Short: "Stop and delete sites",
		Long: `Stops the sites' replicas and deletes the sites, their addresses and their logs.
Volumes stay: with --purge those that the node keeps for the sites are deleted, too;
folders that specs name as sources stay in any case. A site whose spec is in the daemon's sitesDir comes back when the daemon
restarts.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeSites(e, 0),
	}
	cmd.Flags().BoolVar(&purge, "purge", false, "delete the sites' named volumes, too")
	cmd.RunE = func(cmd *cobra.Command, names []string) error {
		client := e.client()
		defer client.Close()
		for _, name := range names {
			end := client.Delete
			if purge {
				end = client.Purge
			}
			if err := end(cmd.Context(), name); err != nil {
				return err
			}
			fmt.Fprintf(e.stdout, "%s  deleted\n", name)
			volumes, err := client.Volumes(cmd.Context(), name)
			if err != nil {
				return err
			}
			for _, v := range volumes {
				fmt.Fprintf(e.stdout, "%s  its volume %s stays: fcnode volume remove %s/%s\n", name, v.Name, v.Site, v.Name)
			}
		}
		return nil
	}
	return cmd
}
