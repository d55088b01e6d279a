package main

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/runtime/deny"
)

func newDeny(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "deny",
		Short: "Drop all packets of sources",
		Long: `Keeps the list of denied sources. Their packets are dropped in the kernel in front of
everything else: on the uplinks whatever they ask for, also of the node itself, and on
all ways to a site, asleep or awake. The list holds while no daemon runs and over
restarts.`,
	}
	cmd.AddCommand(newDenyAdd(e), newDenyRemove(e), newDenyList(e))
	return cmd
}

func newDenyAdd(e *env) *cobra.Command {
	var lasting time.Duration
	cmd := &cobra.Command{
		Use:   "add CIDR...",
		Short: "Deny addresses or prefixes",
		Long: `Denies addresses or prefixes, all of them or none; with "-" those on standard input, one
a line. What is denied already gets the new end. Prefixes wider than /8 (IPv6: /16) and
addresses that no visitor has are refused.`,
		Example: "  fcnode deny add 192.0.2.7 --for 1h\n  fcnode deny add 2001:db8::/64",
		Args:    cobra.MinimumNArgs(1),
	}
	cmd.Flags().DurationVar(&lasting, "for", 0, "let them in again after this `TIME`, like 90s or 1h (default: never)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("for") && lasting <= 0 {
			return fmt.Errorf("--for %s: want a time above 0; leave it out to deny for good", lasting)
		}
		prefixes, err := readPrefixes(args, e.stdin)
		if err != nil || len(prefixes) == 0 {
			return err
		}
		client := e.client()
		defer client.Close()
		return client.Deny(cmd.Context(), prefixes, lasting)
	}
	return cmd
}

func newDenyRemove(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "remove CIDR...",
		Aliases: []string{"rm"},
		Short:   "Let addresses or prefixes in again",
		Long: `Takes addresses or prefixes off the list, as they were given; with "-" those on standard
input, one a line. One that is not on it is no error. A part of a prefix cannot be let in.`,
		Args: cobra.MinimumNArgs(1),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		prefixes, err := readPrefixes(args, e.stdin)
		if err != nil {
			return err
		}
		client := e.client()
		defer client.Close()
		n, err := client.LetIn(cmd.Context(), prefixes)
		if err == nil && n < len(prefixes) {
			fmt.Fprintf(e.stderr, "%d of %d were not on the list\n", len(prefixes)-n, len(prefixes))
		}
		return err
	}
	return cmd
}

func newDenyList(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List what is denied",
		Args:    cobra.NoArgs,
	}
	output := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client := e.client()
		defer client.Close()
		all, err := client.Denied(cmd.Context())
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return printJSON(e.stdout, all)
		}
		if len(all) == 0 {
			fmt.Fprintln(e.stderr, "Nobody is denied.")
			return nil
		}
		var t table
		t.row("PREFIX", "SINCE", "FOR ANOTHER")
		now := e.now()
		for _, d := range all {
			left := "always"
			if !d.Until.IsZero() {
				left = age(d.Until.Sub(now))
			}
			t.row(d.Prefix.String(), ago(now, d.Since), left)
		}
		return t.print(e.stdout)
	}
	return cmd
}

// readPrefixes reads the prefixes of a command line; "-" stands for standard input.
func readPrefixes(args []string, stdin io.Reader) (out []netip.Prefix, err error) {
	if slices.Equal(args, []string{"-"}) {
		args = nil
		lines := bufio.NewScanner(stdin)
		for lines.Scan() {
			if text := strings.TrimSpace(lines.Text()); text != "" {
				args = append(args, text)
			}
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("read the prefixes from standard input: %w", err)
		}
	}
	for _, text := range args {
		p, err := deny.Parse(text)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}
