package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newPark(e *env) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:               "park SITE...",
		Short:             "Put sites to sleep",
		Long:              "Parks the sites now, without waiting for their idle time.",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeSites(e, 0),
	}
	cmd.Flags().BoolVar(&force, "force", false, "park sites that have connections, too; these break")
	cmd.RunE = func(cmd *cobra.Command, names []string) error {
		client := e.client()
		defer client.Close()
		for _, name := range names {
			site, err := client.Park(cmd.Context(), name, force)
			if err != nil {
				return err
			}
			fmt.Fprintf(e.stdout, "%s  parked  %s\n", name, site.Tier)
		}
		return nil
	}
	return cmd
}
