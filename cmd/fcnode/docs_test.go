package main

import (
	"bytes"
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
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

// cited is a command line of fcnode in a text: in backquotes, alone in
// parentheses, or after "by".
var cited = regexp.MustCompile("(?:(?:[^:=] |\\()`|\\bby )fcnode ([a-z][a-z-]*)((?: [A-Za-z./-]+)*)|\\(fcnode ([a-z][a-z-]*)((?: [A-Za-z./-]+)*)\\)")

// TestCitedCommandsExist: the commands and flags that messages and documents
// tell users to run are there.
func TestCitedCommandsExist(t *testing.T) {
	c := newCLI(t)
	root := newRoot(&c.env)
	found := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == ".git" || d.Name() == "bin") {
			return cmp.Or(err, fs.SkipDir)
		}
		if ext := filepath.Ext(path); ext != ".go" && ext != ".md" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range cited.FindAllStringSubmatch(string(text), -1) {
			found++
			name, words := m[1]+m[3], strings.Fields(m[2]+m[4])
			cmd, _, err := root.Find([]string{name})
			if err != nil || cmd == root {
				t.Errorf("%s: there is no %q", path, m[0])
				continue
			}
			for _, word := range words {
				flag, long := strings.CutPrefix(word, "--")
				if long && flag != "" && cmd.Flag(flag) == nil {
					t.Errorf("%s: fcnode %s has no --%s", path, name, flag)
				}
			}
		}
		return nil
	})
	if err != nil || found < 30 {
		t.Fatalf("%d commands found: %v", found, err)
	}
}
