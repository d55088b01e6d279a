package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/spec"
)

func newApply(e *env) *cobra.Command {
	var (
		files  []string
		dryRun bool
	)
	cmd := &cobra.Command{
		Use:   "apply -f FILE|DIR|-",
		Short: "Create or update sites from YAML",
		Long: `Creates the sites that the files describe and updates those that exist. Either all
of them are applied or none. A file may describe several sites; from a folder, all
*.yaml and *.yml files are read; - is standard input. Other sites stay as they are.

Each error names the file, the line and what is allowed there. If a site asks for
something that this node cannot do, apply prints a warning and the site gets the next
best.`,
		Example: "  fcnode apply -f blog.yaml\n  fcnode apply -f /etc/fcnode/sites --dry-run",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(files) == 0 {
				return errors.New("no file given: use -f FILE, -f FOLDER or -f -")
			}
			return cobra.NoArgs(cmd, args)
		},
	}
	output := addOutput(cmd)
	cmd.Flags().StringArrayVarP(&files, "file", "f", nil, "file, folder, or - for standard input (repeatable)")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print what would change, and change nothing")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		sites, err := readSites(e, files)
		if err != nil {
			return err
		}
		client := e.client()
		defer client.Close()
		results, err := client.Apply(cmd.Context(), sites, dryRun)
		if err != nil {
			return located(err, files)
		}
		warn(e, results)
		if *output == formatJSON {
			return printJSON(e.stdout, results)
		}
		return printApplied(e, results, dryRun)
	}
	return cmd
}

// located adds to what the node found wrong where it stands in the files.
func located(err error, files []string) error {
	var wrong *api.Error
	if !errors.As(err, &wrong) {
		return err
	}
	for i := range wrong.Details {
		d := &wrong.Details[i]
		for _, file := range files {
			if d.Line == 0 && d.Site != "" && d.Field != "" {
				d.File, d.Line, d.Column = spec.Locate(file, d.Site, d.Field)
			}
		}
	}
	return err
}

func readSites(e *env, files []string) ([]spec.Site, error) {
	var all []spec.Site
	for _, file := range files {
		sites, err := readSpec(e, file)
		if err != nil {
			return nil, err
		}
		all = append(all, sites...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no sites in %v", files)
	}
	return all, nil
}

func readSpec(e *env, file string) ([]spec.Site, error) {
	if file == "-" {
		return spec.Parse("stdin", e.stdin)
	}
	fi, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("read sites: %w", err)
	}
	if fi.IsDir() {
		return spec.ParseDir(file)
	}
	return spec.ParseFile(file)
}

func printApplied(e *env, results []api.ApplyResult, dryRun bool) error {
	var t table
	for _, r := range results {
		what := string(r.Action)
		if dryRun {
			what += " (dry run)"
		}
		t.row(r.Name, what, addresses(r.Addresses))
	}
	return t.print(e.stdout)
}

// warn says what the node does not do of what was applied: on stderr also where
// the answer is JSON, which has it as well.
func warn(e *env, results []api.ApplyResult) {
	for _, r := range results {
		for _, w := range r.Warnings {
			fmt.Fprintf(e.stderr, "fcnode: warning: site %s: %s\n", r.Name, w)
		}
		for _, n := range r.Notes {
			fmt.Fprintf(e.stderr, "fcnode: site %s: %s\n", r.Name, n)
		}
	}
}
