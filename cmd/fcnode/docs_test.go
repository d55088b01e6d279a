package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const docsDir = "../../docs"

// The reference pages are committed; they say what --help says.
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
	made := docFiles(t, dir)
	for name, want := range made {
		if got, err := os.ReadFile(filepath.Join(docsDir, name)); err != nil || string(got) != want {
			t.Errorf("docs/%s is stale (%v): run `go run ./cmd/fcnode docs docs`", name, err)
		}
	}
	for name := range docFiles(t, docsDir) {
		if _, ok := made[name]; !ok {
			t.Errorf("docs/%s is of a command that is gone: remove it", name)
		}
	}
}

func docFiles(t *testing.T, dir string) map[string]string {
	t.Helper()
	pages, err := filepath.Glob(filepath.Join(dir, "man", "*.1"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, path := range append(pages, filepath.Join(dir, "cli.md")) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(text)
	}
	return files
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
