package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const docsDir = "../../docs"

// The reference is committed; it says what --help says.
func TestDocsAreFresh(t *testing.T) {
	c := newCLI(t)
	if *update {
		if code, _, stderr := c.run(t, "docs", docsDir); code != 0 {
			t.Fatal(stderr)
		}
	}
	dir := t.TempDir()
	if code, _, stderr := c.run(t, "docs", dir); code != 0 {
		t.Fatal(stderr)
	}
	want, err := os.ReadFile(filepath.Join(dir, "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(docsDir, "cli.md")); err != nil || !bytes.Equal(got, want) {
		t.Errorf("docs/cli.md is stale (%v): run `go run ./cmd/fcnode docs docs`", err)
	}
}

func TestManPages(t *testing.T) {
	c := newCLI(t)
	dir := t.TempDir()
	if code, _, stderr := c.run(t, "docs", "--man", dir); code != 0 {
		t.Fatal(stderr)
	}
	for _, cmd := range documented(newRoot(&c.env)) {
		page, err := os.ReadFile(filepath.Join(dir, strings.ReplaceAll(cmd.CommandPath(), " ", "-")+".1"))
		if err != nil || !bytes.Contains(page, []byte(`.TH "FCNODE`)) || bytes.Contains(page, []byte("Jan 0001")) {
			t.Errorf("%s: %v, page:\n%.200s", cmd.CommandPath(), err, page)
		}
	}
}

// Every command tells what it does; each flag too.
func TestEveryCommandIsDescribed(t *testing.T) {
	c := newCLI(t)
	for _, cmd := range documented(newRoot(&c.env)) {
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: Short is %q", cmd.CommandPath(), cmd.Short)
		}
	}
}
