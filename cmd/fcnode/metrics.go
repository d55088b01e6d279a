package main

import (
	"github.com/spf13/cobra"
)

func newMetrics(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "metrics",
		Short: "Print what the node counts, for Prometheus",
		Long: `Prints the metrics of the node and of the sites that are awake, in the text format
of Prometheus. docs/metrics.md explains them. The daemon answers the same at
/metrics on its socket, and on an address of its own if metrics.listen of its
configuration names one.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client := e.client()
			defer client.Close()
			return client.Metrics(cmd.Context(), e.stdout)
		},
	}
}
