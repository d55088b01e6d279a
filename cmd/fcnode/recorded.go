package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/detect/model"
	"github.com/fcnode/fcnode/detect/sleep"
	"github.com/fcnode/fcnode/runtime/api"
)

// recordedFrom says whose requests are to be played.
type recordedFrom struct {
	all   bool
	since string
	level *api.Level // of the site that was read; nil: none
}

// levelFor gives the site's service level the place of what no flag says.
func (r *recordedFrom) levelFor(cmd *cobra.Command, class sleep.Class) sleep.Class {
	if r.level != nil && !cmd.Flags().Changed("late") {
		class.Late = r.level.Late
	}
	if r.level != nil && !cmd.Flags().Changed("over") {
		class.Over = r.level.Over.Duration()
	}
	return class
}

func addRecorded(cmd *cobra.Command) *recordedFrom {
	r := &recordedFrom{}
	cmd.Flags().BoolVar(&r.all, "all", false, "what the node has recorded of all its sites")
	cmd.Flags().StringVar(&r.since, "since", "", "of a SITE or --all "+sinceHelp)
	return r
}

// completeRecorded completes sites, and files.
func completeRecorded(e *env) cobra.CompletionFunc {
	sites := completeSites(e, 1)
	return func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names, _ := sites(cmd, args, prefix)
		return names, cobra.ShellCompDirectiveDefault
	}
}

// isFile says whether a name is meant to be that of a file.
func isFile(name string) bool {
	_, err := os.Stat(name)
	return err == nil || name == "-" || strings.ContainsAny(name, "/.")
}

// read gives the requests of a file, a site or all sites, and of a site what its
// tiers cost it; else nil.
func (r *recordedFrom) read(ctx context.Context, e *env, args []string) (*model.Fleet, []sleep.Option, error) {
	opts := api.ArrivalsOptions{}
	switch {
	case r.all == (len(args) > 0):
		return nil, nil, errors.New("one of FILE, SITE and --all says whose requests")
	case len(args) > 0 && isFile(args[0]):
		if r.since != "" {
			return nil, nil, fmt.Errorf("--since is for what the node has recorded; %s is a file", args[0])
		}
		f, err := readFleet(e, args[0])
		return f, nil, err
	case len(args) > 0:
		opts.Site = args[0]
	}
	var err error
	if opts.Since, err = parseSince(r.since, e.now()); err != nil {
		return nil, nil, err
	}
	client := e.client()
	defer client.Close()
	var text bytes.Buffer
	if err := client.Arrivals(ctx, &text, opts); err != nil {
		return nil, nil, err
	}
	of := cmp.Or(opts.Site, "the node's sites")
	f, err := model.ReadFleet(of, &text, 1)
	if err != nil {
		return nil, nil, fmt.Errorf("what is recorded of %s: %w", of, err)
	}
	if opts.Site == "" {
		return f, nil, nil
	}
	why, err := client.Why(ctx, opts.Site, 0)
	if err != nil {
		return nil, nil, err
	}
	r.level = why.Level
	return f, optionsOf(&why), nil
}

// optionsOf are the tiers that a site may be on, and what they cost it; nil if it can
// only run.
func optionsOf(why *api.Why) (out []sleep.Option) {
	for _, a := range why.Alternatives {
		if a.Cost >= 0 {
			out = append(out, sleep.NewOption(a.Tier, float64(a.Memory), float64(a.Disk), a.Wake.Duration()))
		}
	}
	if len(out) < 2 {
		return nil
	}
	return out
}
