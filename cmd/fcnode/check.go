package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/runtime/check"
	"github.com/fcnode/fcnode/runtime/config"
)

func newCheck(e *env) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "check [SITE]",
		Short: "Check whether this machine can run fcnode, or how deep a site can sleep",
		Long: `Checks everything on this machine that fcnode needs or can use, with a remedy for each
thing that is missing. It needs no daemon and changes nothing. The exit code is 1 if
something required is missing.

With a site it asks the daemon on which tiers the site can sleep and what prevents the
others: what the node lacks, and what the site's processes hold now that cannot be
checkpointed. The exit code is 1 if the spec asks for a tier that is not available.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeSites(e, 1),
	}
	output := addOutput(cmd)
	addConfig(cmd, &path)
	cmd.RunE = func(cmd *cobra.Command, names []string) error {
		if len(names) == 1 {
			client := e.client()
			defer client.Close()
			answer, err := client.Check(cmd.Context(), names[0])
			if err != nil {
				return err
			}
			return checkSite(e, &answer, *output)
		}
		cfg, cfgErr := config.Load(path)
		if cfgErr != nil {
			cfg = config.Default()
		}
		report := check.Run(e.machine, cfg, cfgErr)
		var err error
		if *output == formatJSON {
			err = printJSON(e.stdout, report)
		} else {
			err = printReport(e.stdout, report)
		}
		if err == nil && !report.OK {
			err = exitCode(exitFailure)
		}
		return err
	}
	return cmd
}

func addConfig(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVarP(path, "config", "c", "", "the daemon's configuration `FILE` (default "+config.DefaultPath+" if it is there)")
	_ = cmd.MarkFlagFilename("config", "yaml")
}

func printReport(w io.Writer, r check.Report) error {
	var t table
	t.row("STATUS", "CHECK", "FOUND")
	for _, f := range r.Findings {
		t.row(string(f.Status), f.Name, f.Found)
		if f.Status != check.OK {
			t.row("", "  why", f.Why)
			t.row("", "  remedy", f.Remedy)
		}
	}
	if err := t.print(w); err != nil {
		return err
	}
	verdict := "fcnode can run here"
	if !r.OK {
		verdict = "fcnode cannot run here"
	}
	_, err := fmt.Fprintf(w, "\n%s: %d ok, %s, %s\n", verdict, r.Count(check.OK),
		plural(r.Count(check.Warn), "warning"), plural(r.Count(check.Fail), "failure"))
	return err
}
