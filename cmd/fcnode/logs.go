package main

import (
	"fmt"
	"io"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/runtime/api"
)

func newLogs(e *env) *cobra.Command {
	var (
		opts       api.LogOptions
		since      string
		grep       string
		timestamps bool
	)
	cmd := &cobra.Command{
		Use:   "logs SITE",
		Short: "Show the output of a site",
		Long: `Shows the output of a site's replicas, oldest first. Their standard output goes to
standard output, their standard error to standard error. --tail and --since say which
lines are looked at, --grep which of them are shown.`,
		Example:           "  fcnode logs blog -f --since 10m --grep 'PHP (Fatal|Warning)'",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeSites(e, 1),
	}
	output := addOutput(cmd)
	flags := cmd.Flags()
	flags.BoolVarP(&opts.Follow, "follow", "f", false, "follow new output until interrupted")
	flags.IntVar(&opts.Tail, "tail", -1, "show only the last `N` lines (default all)")
	flags.StringVar(&since, "since", "", "show only output since a duration ago (10m) or a time (2026-11-22T10:31:07Z)")
	flags.StringVar(&grep, "grep", "", "show only lines that match the regular expression `RE`")
	flags.StringVar(&opts.Replica, "replica", "", "show only the replica with this `ID`")
	flags.BoolVarP(&timestamps, "timestamps", "t", false, "prefix each line with its time")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var err error
		if opts.Since, err = parseSince(since, e.now()); err != nil {
			return err
		}
		shown, err := regexp.Compile(grep)
		if err != nil {
			return fmt.Errorf("--grep %q is no regular expression: %w", grep, err)
		}
		client := e.client()
		defer client.Close()
		lines := client.Logs(cmd.Context(), args[0], opts)
		if grep != "" {
			lines = grepped(lines, shown)
		}
		for line, err := range lines {
			if err != nil {
				return err
			}
			if *output == formatJSON {
				err = printJSONLine(e.stdout, line)
			} else {
				err = printLine(e, line, timestamps)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

// parseSince understands a duration before now, or a time.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("--since %q: want a duration like 10m or a time like 2026-11-22T10:31:07Z", text)
	}
	return t, nil
}

func printLine(e *env, line api.LogLine, timestamps bool) error {
	w := e.stdout
	if line.Stream == "stderr" {
		w = e.stderr
	}
	text := line.Text
	if timestamps {
		text = stamp(line.Time) + "  " + text
	}
	if !line.Partial {
		text += "\n"
	}
	_, err := io.WriteString(w, text)
	return err
}

// stamp is a time of fixed width, in UTC to the millisecond.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
