package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/runtime/api"
)

func newCirculate(e *env) *cobra.Command {
	var wait, newImage bool
	cmd := &cobra.Command{
		Use:   "circulate SITE...",
		Short: "Replace the replicas of sites with fresh ones",
		Long: `Starts fresh replicas, steers new connections to them, and stops the old replicas when
their last connection ends, or after circulate.drain of the spec. Sleeping replicas and
checkpoints of the sites are discarded.

A site stays with the image that it was applied with. --new-image looks up what the
image's name means now, and pins that.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeSites(e, 0),
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the fresh replicas have taken over")
	cmd.Flags().BoolVar(&newImage, "new-image", false, "look the sites' images up anew: a tag that was moved, an archive that was replaced")
	cmd.RunE = func(cmd *cobra.Command, names []string) error {
		client := e.client()
		defer client.Close()
		for _, name := range names {
			if err := circulate(cmd.Context(), e, client, name, newImage, wait); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

func circulate(ctx context.Context, e *env, client *api.Client, name string, newImage, wait bool) error {
	begin := e.now()
	before, err := client.Get(ctx, name)
	if err != nil {
		return err
	}
	since, err := newestEvent(ctx, client)
	if err != nil {
		return err
	}
	begun := client.Circulate
	if newImage {
		begun = client.RenewImage
	}
	site, err := begun(ctx, name)
	if err != nil {
		return err
	}
	if !wait {
		fmt.Fprintf(e.stdout, "%s  circulating  %s\n", name, plural(len(before.Replicas), "replica"))
		return nil
	}
	if !replaced(&before, &site) {
		if site, err = awaitFresh(ctx, client, &before, since); err != nil {
			return err
		}
	}
	fmt.Fprintf(e.stdout, "%s  circulated  %s after %s\n", name, tier(&site), millis(e.now().Sub(begin)))
	return nil
}

// newestEvent gives the number of the newest event; 0 where there is none.
func newestEvent(ctx context.Context, client *api.Client) (seq uint64, err error) {
	for ev, err := range client.Events(ctx, api.EventOptions{Last: 1}) {
		if err != nil {
			return 0, err
		}
		seq = ev.Seq
	}
	return seq, nil
}

// awaitFresh looks at the site after each of its events.
func awaitFresh(ctx context.Context, client *api.Client, before *api.Site, since uint64) (api.Site, error) {
	opts := api.EventOptions{Site: before.Name, Since: since, Follow: true}
	for ev, err := range client.Events(ctx, opts) {
		if err != nil {
			return api.Site{}, err
		}
		if ev.Kind == "not-circulated" {
			return api.Site{}, &hinted{
				err:  fmt.Errorf("site %q is not circulated: %s", before.Name, ev.Reason),
				hint: "the old replicas stay; fcnode logs " + before.Name + " shows what the fresh one printed",
			}
		}
		site, err := client.Get(ctx, before.Name)
		if err != nil || replaced(before, &site) {
			return site, err
		}
		if site.Phase == api.PhaseBackoff && site.Error != nil && (before.Error == nil || site.Error.Time.After(before.Error.Time)) {
			return site, &hinted{
				err:  fmt.Errorf("site %q does not start: %s", before.Name, site.Error.Message),
				hint: "fcnode logs " + before.Name + " shows what it printed",
			}
		}
	}
	return api.Site{}, errors.New("the daemon ended before the site was circulated")
}

// replaced says that no replica of before gets new connections, and that others
// do if the site is awake.
func replaced(before, now *api.Site) bool {
	fresh := false
	for _, r := range now.Replicas {
		old := slices.ContainsFunc(before.Replicas, func(b api.Replica) bool { return b.ID == r.ID })
		switch {
		case !old && r.State == "ready":
			fresh = true
		case old && r.State != "draining" && r.State != "stopping":
			return false
		}
	}
	return fresh || len(now.Replicas) == 0
}
