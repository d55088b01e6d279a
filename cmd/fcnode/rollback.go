package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/runtime/api"
)

func newRollback(e *env) *cobra.Command {
	var (
		d  deployment
		to uint64
	)
	cmd := &cobra.Command{
		Use:   "rollback SITE [--to REVISION]",
		Short: "Make a site what it was before it was changed",
		Long: `Gives a site the spec and the image that it had before it was changed last, or at a
revision that fcnode get shows. The image is the one of then, by its digest, also where
its tag has been moved since. The site's file in the node's folder of specs says the same
afterwards; its comments stay. What is rolled back becomes an earlier version itself, so
that a second rollback undoes the first.

The node keeps the last five versions of a site, and the image of the last one; those of
the others are pulled again, by their digests, if the node has them no more.`,
		Example: "  fcnode rollback blog\n  fcnode rollback blog --to 3 --dry-run",
	}
	cmd.Flags().Uint64Var(&to, "to", 0, "the `REVISION` to go back to (default the one before this)")
	cmd.Flags().BoolVar(&d.dryRun, "dry-run", false, "check everything, print what would change, and change nothing")
	return d.command(cmd, e, func(ctx context.Context, name string) error {
		return d.change(ctx, name, func() ([]api.ApplyResult, error) {
			return d.client.Rollback(ctx, name, to, d.dryRun)
		}, func(before *api.Site, results []api.ApplyResult) error {
			return d.printRolledBack(before, to, results)
		})
	})
}

func (d *deployment) printRolledBack(before *api.Site, to uint64, results []api.ApplyResult) error {
	i := 0
	if to > 0 {
		i = slices.IndexFunc(before.Versions, func(v api.Version) bool { return v.Revision == to })
	}
	if i >= 0 && i < len(before.Versions) && before.Spec != nil {
		v := &before.Versions[i]
		if err := printDifferences(d.e, before.Name, before.Spec, v.Spec); err != nil {
			return err
		}
		if v.ImageDigest != before.ImageDigest {
			fmt.Fprintf(d.e.stdout, "%s  ~ pinned: %s -> %s\n", before.Name, dash(before.ImageDigest), dash(v.ImageDigest))
		}
	}
	return printApplied(d.e, results, d.dryRun)
}
