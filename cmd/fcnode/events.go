package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/runtime/api"
)

func newEvents(e *env) *cobra.Command {
	var opts api.EventOptions
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what the node did and why",
		Long: `Shows the node's event log, oldest first. With -o json each event is one line; pass its
"seq" to --since to continue after it.`,
		Args: cobra.NoArgs,
	}
	output := addOutput(cmd)
	flags := cmd.Flags()
	flags.BoolVarP(&opts.Follow, "follow", "f", false, "follow new events until interrupted")
	flags.StringVar(&opts.Site, "site", "", "show only events about this `SITE`")
	flags.Uint64Var(&opts.Since, "since", 0, "show only events after number `SEQ`")
	flags.IntVarP(&opts.Last, "last", "n", 0, "show only the newest `N` events (default all that are kept)")
	_ = cmd.RegisterFlagCompletionFunc("site", completeSites(e, 0))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client := e.client()
		defer client.Close()
		for event, err := range client.Events(cmd.Context(), opts) {
			if err != nil {
				return err
			}
			if *output == formatJSON {
				err = printJSONLine(e.stdout, event)
			} else {
				_, err = fmt.Fprintln(e.stdout, eventLine(event))
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

// eventLine pads to usual widths, since a stream does not know its longest
// word.
func eventLine(ev api.Event) string {
	subject := ev.Replica
	if subject == "" {
		subject = ev.Site
	}
	if subject == "" {
		subject = none
	}
	return strings.TrimRight(fmt.Sprintf("%s  %-10s  %-16s  %s", stamp(ev.Time), ev.Kind, subject, ev.Story()), " ")
}
