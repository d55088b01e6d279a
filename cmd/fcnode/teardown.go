package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newTeardown(e *env) *cobra.Command {
	var flags runFlags
	var purge bool
	cmd := &cobra.Command{
		Use:   "teardown",
		Short: "Stop all sites and remove the data path",
		Long: `Removes everything that a daemon leaves running when it ends: the replicas (their
connections break), the BPF programs and maps, the device with its routes, network
namespaces, cgroups and the run directory. The machine is then as it was before fcnode
ran. Stop the daemon first (systemctl stop fcnode).

Sites, images and logs stay on disk, and the next daemon serves them again, unless
--purge is given. Volumes are never touched.`,
		Args: cobra.NoArgs,
	}
	addConfig(cmd, &flags.config)
	cmd.Flags().BoolVar(&purge, "purge", false, "delete the state directory too: sites, images and logs")
	flags.log.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		log, err := flags.log.logger(e.stderr)
		if err != nil {
			return err
		}
		cfg, err := flags.load(e)
		if err != nil {
			return err
		}
		if err := e.remove(cmd.Context(), cfg, log, purge); err != nil {
			return fmt.Errorf("teardown: %w", err)
		}
		return nil
	}
	return cmd
}
