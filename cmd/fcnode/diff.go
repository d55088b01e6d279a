package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/spec"
)

func newDiff(e *env) *cobra.Command {
	var (
		files []string
		code  bool
	)
	cmd := &cobra.Command{
		Use:   "diff -f FILE|DIR|-",
		Short: "Show what applying YAML would change in the specs of sites",
		Long: `Compares the sites that the files describe with those that the node has, field by
field, with all defaults filled in: how a spec is written makes no difference. Nothing is
changed, and nothing but the specs is compared: fcnode apply --dry-run also asks the node
whether it would take them.`,
		Example: "  fcnode diff -f blog.yaml\n  fcnode diff -f /etc/fcnode/sites --exit-code",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(files) == 0 {
				return errors.New("no file given: use -f FILE, -f FOLDER or -f -")
			}
			return cobra.NoArgs(cmd, args)
		},
	}
	cmd.Flags().StringArrayVarP(&files, "file", "f", nil, "file, folder, or - for standard input (repeatable)")
	cmd.Flags().BoolVar(&code, "exit-code", false, "exit with 1 if something differs")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		sites, err := readSites(e, files)
		if err != nil {
			return err
		}
		client := e.client()
		defer client.Close()
		differs := false
		for i := range sites {
			has, err := client.Get(cmd.Context(), sites[i].Name)
			if err != nil && !errors.Is(err, api.ErrNotFound) {
				return err
			}
			changes, err := differences(has.Spec, &sites[i])
			if err != nil {
				return err
			}
			differs = differs || len(changes) > 0
			for _, line := range changes {
				fmt.Fprintf(e.stdout, "%s  %s\n", sites[i].Name, line)
			}
		}
		if differs && code {
			return exitCode(exitFailure)
		}
		return nil
	}
	return cmd
}

// printDifferences prints in which fields two specs of a site differ.
func printDifferences(e *env, name string, from, to *spec.Site) error {
	lines, err := differences(from, to)
	for _, line := range lines {
		fmt.Fprintf(e.stdout, "%s  %s\n", name, line)
	}
	return err
}

// differences says, a line each, in which fields two specs of a site differ. Where
// there is none yet it says that.
func differences(from, to *spec.Site) ([]string, error) {
	if from == nil {
		return []string{"is new"}, nil
	}
	before, err := leaves(from)
	if err != nil {
		return nil, err
	}
	after, err := leaves(to)
	if err != nil {
		return nil, err
	}
	all := maps.Clone(before)
	maps.Copy(all, after)
	var lines []string
	for _, field := range slices.Sorted(maps.Keys(all)) {
		old, had := before[field]
		now, has := after[field]
		switch {
		case old == now:
		case !had:
			lines = append(lines, fmt.Sprintf("+ %s: %s", field, now))
		case !has:
			lines = append(lines, fmt.Sprintf("- %s: %s", field, old))
		default:
			lines = append(lines, fmt.Sprintf("~ %s: %s -> %s", field, old, now))
		}
	}
	return lines, nil
}

// leaves are the values of a spec by the paths of their fields, as JSON.
func leaves(s *spec.Site) (map[string]string, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber() // as they are written
	var value any
	if err := dec.Decode(&value); err != nil {
		return nil, err
	}
	out := map[string]string{}
	return out, gather(out, "", value)
}

func gather(out map[string]string, path string, value any) error {
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			at := name
			if path != "" {
				at = path + "." + name
			}
			if err := gather(out, at, inner); err != nil {
				return err
			}
		}
		if len(v) > 0 {
			return nil
		}
	case []any:
		for i, inner := range v {
			if err := gather(out, fmt.Sprintf("%s[%d]", path, i), inner); err != nil {
				return err
			}
		}
		if len(v) > 0 {
			return nil
		}
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return err
	}
	out[path] = string(bytes.TrimRight(text.Bytes(), "\n"))
	return nil
}
