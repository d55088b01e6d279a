package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/runtime/api"
)

// completionTimeout is how long a shell may hang on a daemon that does not
// answer.
const completionTimeout = time.Second

// completeSites completes the names of up to n sites (0: any number).
func completeSites(e *env, n int) cobra.CompletionFunc {
	return completeNames(e, n, cobra.ShellCompDirectiveNoFileComp, func(ctx context.Context, client *api.Client) (names []cobra.Completion, err error) {
		sites, err := client.List(ctx)
		for i := range sites {
			names = append(names, cobra.CompletionWithDesc(sites[i].Name, string(sites[i].Tier)))
		}
		return names, err
	})
}

// completeVolumes completes the names of up to n volumes (0: any number), and what
// then says after them.
func completeVolumes(e *env, n int, then cobra.ShellCompDirective) cobra.CompletionFunc {
	return completeNames(e, n, then, func(ctx context.Context, client *api.Client) (names []cobra.Completion, err error) {
		volumes, err := client.Volumes(ctx, "")
		for _, v := range volumes {
			names = append(names, v.Site+"/"+v.Name)
		}
		return names, err
	})
}

// completeImages completes the digests of up to n images (0: any number).
func completeImages(e *env, n int) cobra.CompletionFunc {
	return completeNames(e, n, cobra.ShellCompDirectiveNoFileComp, func(ctx context.Context, client *api.Client) (names []cobra.Completion, err error) {
		images, err := client.Images(ctx)
		for i := range images {
			names = append(names, cobra.CompletionWithDesc(shortDigest(images[i].Digest), strings.Join(images[i].Refs, " ")))
		}
		return names, err
	})
}

// completeNames completes up to n names of what the daemon lists, each once, and what
// then says after them.
func completeNames(e *env, n int, then cobra.ShellCompDirective, list func(context.Context, *api.Client) ([]cobra.Completion, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if n > 0 && len(args) >= n {
			return nil, then
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		client := e.client()
		defer client.Close()
		names, err := list(ctx, client)
		if err != nil {
			cobra.CompDebugln(err.Error(), true)
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return slices.DeleteFunc(names, func(c cobra.Completion) bool {
			name, _, _ := strings.Cut(c, "\t") // its description follows
			return slices.Contains(args, name)
		}), cobra.ShellCompDirectiveNoFileComp
	}
}
