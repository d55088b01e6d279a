package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func newDocs(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:    "docs DIR",
		Short:  "Write the reference pages of the commands",
		Long:   "Writes cli.md and man/*.1 into the folder, from the same texts as --help.",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
	}
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		pages, err := docPages(e)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(args[0], "man"), 0o755); err != nil {
			return fmt.Errorf("make the folder of the man pages: %w", err)
		}
		for name, text := range pages {
			if err := os.WriteFile(filepath.Join(args[0], name), text, 0o644); err != nil {
				return fmt.Errorf("write a reference page: %w", err)
			}
		}
		return nil
	}
	return cmd
}

// docPages renders cli.md and the man pages, by their paths below docs.
func docPages(e *env) (map[string][]byte, error) {
	root := newRoot(e)
	disableTags(root)
	pages := map[string][]byte{}
	var md bytes.Buffer
	md.WriteString(cliHead)
	for _, cmd := range documented(root) {
		if err := doc.GenMarkdownCustom(cmd, &md, markdownLink); err != nil {
			return nil, fmt.Errorf("render cli.md: %w", err)
		}
		md.WriteString("\n")
		// The date would change with each build, without anything else changing.
		header := &doc.GenManHeader{Section: "1", Source: "fcnode", Manual: "fcnode", Date: &time.Time{}}
		var man bytes.Buffer
		if err := doc.GenMan(cmd, header, &man); err != nil {
			return nil, fmt.Errorf("render the man page of %s: %w", cmd.CommandPath(), err)
		}
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1"
		pages[filepath.Join("man", name)] = bytes.Replace(man.Bytes(), []byte(`"Jan 0001"`), []byte(`""`), 1)
	}
	pages["cli.md"] = append(bytes.TrimRight(md.Bytes(), "\n"), '\n')
	return pages, nil
}

const cliHead = `# The command line

This page is made from the texts of ` + "`fcnode --help`" + ` by ` + "`fcnode docs`" + `; so are the man
pages beside it.

`

// markdownLink turns cobra's link to another file into one inside of the page.
func markdownLink(file string) string {
	return "#" + strings.ReplaceAll(strings.TrimSuffix(file, ".md"), "_", "-")
}

func disableTags(cmd *cobra.Command) {
	cmd.DisableAutoGenTag = true
	for _, c := range cmd.Commands() {
		disableTags(c)
	}
}

// documented returns the command and those below it that are for users.
func documented(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	if cmd.Name() == "completion" {
		return all // its own page names the shells
	}
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() && c.Name() != "help" {
			all = append(all, documented(c)...)
		}
	}
	return all
}
