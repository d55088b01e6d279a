package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newWake(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "wake SITE...",
		Short: "Wake sites and wait until they run",
		Long: `Wakes the sites as their first packet would, and waits until they listen. Interrupting
the command does not interrupt the wake.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeSites(e, 0),
	}
	cmd.RunE = func(cmd *cobra.Command, names []string) error {
		client := e.client()
		defer client.Close()
		for _, name := range names {
			begin := e.now()
			site, err := client.Wake(cmd.Context(), name)
			if err != nil {
				return err
			}
			fmt.Fprintf(e.stdout, "%s  %s  after %s at %s\n", name, tier(&site), millis(e.now().Sub(begin)), addresses(site.Addresses))
		}
		return nil
	}
	return cmd
}
