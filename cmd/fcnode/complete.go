package main

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"
)

// completionTimeout is how long a shell may hang on a daemon that does not
// answer.
const completionTimeout = time.Second

// completeSites completes the names of up to n sites (0: any number).
func completeSites(e *env, n int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if n > 0 && len(args) >= n {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		client := e.client()
		defer client.Close()
		sites, err := client.List(ctx)
		if err != nil {
			cobra.CompDebugln(err.Error(), true)
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []cobra.Completion
		for i := range sites {
			if !slices.Contains(args, sites[i].Name) {
				names = append(names, cobra.CompletionWithDesc(sites[i].Name, string(sites[i].Tier)))
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
