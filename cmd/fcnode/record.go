package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/runtime/api"
)

const recordLong = `Prints how many arrivals a site, or with --all each site, had in which minute:
requests, and connections that asked for nothing. The node records that always,
for two weeks (record.keep of its configuration); counts only, no addresses.

A site is a line, "name | minute:count minute:count ...", its minutes counted
from the beginning that a comment above tells. "fcnode replay" plays it through
rules for sleep, "fcnode plan" says what a node can promise.`

const sinceHelp = "only arrivals since a duration ago (24h) or a time (2026-11-22T10:31:07Z); default all that are kept"

const recordExample = `  fcnode record blog
  fcnode record --all --since 24h > yesterday.txt && fcnode replay yesterday.txt
  fcnode record --all --numbered | gzip > to-show-others.txt.gz`

func newRecord(e *env) *cobra.Command {
	var opts api.ArrivalsOptions
	cmd := &cobra.Command{
		Use:               "record SITE|--all",
		Short:             "Print how many arrivals sites had in which minute",
		Long:              recordLong,
		Example:           recordExample,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeSites(e, 1),
	}
	all := cmd.Flags().Bool("all", false, "all sites")
	var since string
	cmd.Flags().StringVar(&since, "since", "", sinceHelp)
	cmd.Flags().BoolVar(&opts.Numbered, "numbered", false, "numbers in the place of names")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *all == (len(args) > 0) {
			return errors.New("one of SITE and --all says whose arrivals")
		}
		if len(args) > 0 {
			opts.Site = args[0]
		}
		var err error
		if opts.Since, err = parseSince(since, e.now()); err != nil {
			return err
		}
		client := e.client()
		defer client.Close()
		return client.Arrivals(cmd.Context(), e.stdout, opts)
	}
	return cmd
}
