package main

import (
	"github.com/spf13/cobra"
)

func newMetrics(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "metrics",
		Short: "Print the metrics for Prometheus",
		Long: `Prints the metrics of the node and of the sites that are awake, in the text format of
Prometheus; docs/metrics.md explains them. The daemon serves the same at /metrics on its
socket, and on the address metrics.listen of its configuration, if set.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client := e.client()
			defer client.Close()
			return client.Metrics(cmd.Context(), e.stdout)
		},
	}
}
