package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newReload(e *env) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have the daemon apply its folder of specs anew",
		Long: `Applies the specs in sitesDir and deletes the sites that came from there and are there no
more, as systemctl reload fcnode does, but waits for it and says what is wrong. Where all
of these sites are gone, or more than deletion.share of the configuration, the folder may
be one that is not mounted: nothing is changed without --force.`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().BoolVar(&force, "force", false, "delete sites whose files are gone, however many")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client := e.client()
		defer client.Close()
		if err := client.Reload(cmd.Context(), force); err != nil {
			return err
		}
		fmt.Fprintln(e.stdout, "reloaded")
		return nil
	}
	return cmd
}
