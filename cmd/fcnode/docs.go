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
	man := false
	cmd := &cobra.Command{
		Use:    "docs DIR",
		Short:  "Write the reference of the commands",
		Long:   "Writes cli.md into the folder, or with --man the man pages, from the same texts as --help.",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
	}
	cmd.Flags().BoolVar(&man, "man", false, "write the man pages")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if man {
			return writeManPages(e, args[0])
		}
		return writeReference(e, args[0])
	}
	return cmd
}

func writeReference(e *env, dir string) error {
	root := newRoot(e)
	disableTags(root)
	var md bytes.Buffer
	md.WriteString(cliHead)
	for _, cmd := range documented(root) {
		if err := doc.GenMarkdownCustom(cmd, &md, markdownLink); err != nil {
			return fmt.Errorf("render cli.md: %w", err)
		}
		md.WriteString("\n")
	}
	return writePage(dir, "cli.md", append(bytes.TrimRight(md.Bytes(), "\n"), '\n'))
}

func writeManPages(e *env, dir string) error {
	for _, cmd := range documented(newRoot(e)) {
		// A date would make each build differ.
		header := &doc.GenManHeader{Section: "1", Source: "fcnode", Manual: "fcnode", Date: &time.Time{}}
		cmd.DisableAutoGenTag = true
		var page bytes.Buffer
		if err := doc.GenMan(cmd, header, &page); err != nil {
			return fmt.Errorf("render the man page of %s: %w", cmd.CommandPath(), err)
		}
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1"
		if err := writePage(dir, name, bytes.Replace(page.Bytes(), []byte(`"Jan 0001"`), []byte(`""`), 1)); err != nil {
			return err
		}
	}
	return nil
}

func writePage(dir, name string, text []byte) error {
	if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
		return fmt.Errorf("write a reference page: %w", err)
	}
	return nil
}

const cliHead = `# The command line

` + "`fcnode docs`" + ` makes this page from the texts of ` + "`fcnode --help`" + `; ` + "`make install`" + ` makes man pages of them.

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
