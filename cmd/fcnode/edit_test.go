package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/tests/testutil"
)

// editor has the command line edit by a shell command, in which $1 is the file.
func (c *cli) editor(t *testing.T, command string) {
	t.Helper()
	script := filepath.Join(t.TempDir(), "editor")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"+command+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	old := c.getenv
	c.getenv = func(name string) string {
		if name == "EDITOR" {
			return script + " " // with arguments, as users have them
		}
		return old(name)
	}
}

// typing has the command line read what somebody types, from a file, which an editor
// inherits and does not read.
func (c *cli) typing(t *testing.T, text string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	if _, err := w.WriteString(text); err != nil {
		t.Fatal(err)
	}
	w.Close()
	c.stdin = r
}

func editable() *recorded {
	return &recorded{pulls: pulled(), file: api.SpecFile{Path: "/etc/fcnode/sites/blog.yaml", Text: deployed, Digest: "sha256:d", Saved: true}}
}

func TestEdit(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	b := editable()
	c := newCLI(t).serve(t, b)
	c.editor(t, `sed -i 's/blog:1/blog:2/; s/A: "1"/A: "2"/' "$1"`)
	code, stdout, stderr := c.run(t, "edit", "blog")
	want := "blog  ~ env.A: \"1\" -> \"2\"\nblog  ~ image: \"reg.example/blog:1\" -> \"reg.example/blog:2\"\nblog  updated  10.77.0.12\n"
	if code != 0 || stdout != want {
		t.Errorf("exit code %d, %q, %s", code, stdout, stderr)
	}
	text := strings.NewReplacer("blog:1", "blog:2", `"1"`, `"2"`).Replace(deployed)
	if diff := cmp.Diff(api.SpecFile{Path: b.file.Path, Text: text, Digest: "sha256:d", Saved: true}, b.wrote); diff != "" {
		t.Errorf("it wrote (-want +got):\n%s", diff)
	}
	if !slices.Contains(b.calls, "pull reg.example/blog:2") {
		t.Errorf("the image was not pulled first: %v", b.calls)
	}
	if left, _ := os.ReadDir(os.Getenv("TMPDIR")); len(left) != 0 {
		t.Errorf("there is %v left", left)
	}

	b.calls = nil
	c.editor(t, "true")
	if code, _, stderr := c.run(t, "edit", "blog"); code != 0 || !strings.Contains(stderr, "as it was") || len(b.calls) != 0 {
		t.Errorf("nothing edited: exit code %d, %s, %v", code, stderr, b.calls)
	}
	b.file = api.SpecFile{}
	if code, _, stderr := c.run(t, "edit", "nobody"); code != exitNotFound || !strings.Contains(stderr, "fcnode init") {
		t.Errorf("no such site: exit code %d, %s", code, stderr)
	}
}

// TestEditWrong: the text of who made a mistake is not lost.
func TestEditWrong(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for _, tt := range []struct {
		command, stderr string
		code            int
	}{
		{`echo 'colour: red' >> "$1"`, "/etc/fcnode/sites/blog.yaml:7:1: colour: unknown field", exitFailure},
		{`sed -i s/blog:1/blog:none/ "$1"`, "image not found", exitFailure},
		{`echo x >> "$1"; exit 3`, "exit status 3", exitFailure},
	} {
		b := editable()
		c := newCLI(t).serve(t, b)
		c.editor(t, tt.command)
		code, _, stderr := c.run(t, "edit", "blog")
		if code != tt.code || !strings.Contains(stderr, tt.stderr) {
			t.Errorf("%s: exit code %d, %s, want %q", tt.command, code, stderr, tt.stderr)
		}
		if slices.Contains(b.calls, "write blog") {
			t.Errorf("%s: it was written", tt.command)
		}
		kept := regexp.MustCompile(`hint: (?:the text is in|.*) ?(/\S+\.yaml)`).FindStringSubmatch(stderr)
		if kept == nil {
			t.Errorf("%s: where is the text? %s", tt.command, stderr)
			continue
		}
		text, err := os.ReadFile(kept[1])
		if err != nil || string(text) == deployed {
			t.Errorf("%s: what was edited is %q: %v", tt.command, text, err)
		}
		if st, err := os.Stat(kept[1]); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: its mode is %v: %v", tt.command, st.Mode(), err)
		}
	}
}

// TestEditAgain: on a terminal the editor opens again with the text as it was left.
func TestEditAgain(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	b := editable()
	c := newCLI(t).serve(t, b)
	c.interactive = func() bool { return true }
	c.editor(t, `if grep -q colour "$1"; then sed -i /colour/d "$1"; echo 'idle: 1m' >> "$1"; else echo 'colour: red' >> "$1"; fi < /dev/null`)
	c.typing(t, "y\ny\n") // edit again, and apply
	code, _, stderr := c.run(t, "edit", "blog")
	if code != 0 || b.wrote.Text != deployed+"idle: 1m\n" {
		t.Errorf("exit code %d, it wrote %q, %s", code, b.wrote.Text, stderr)
	}
	b.wrote = api.SpecFile{}
	c.typing(t, "n\n")
	if code, _, stderr = c.run(t, "edit", "blog"); code != exitFailure || !strings.Contains(stderr, "the text is in /") || b.wrote.Text != "" {
		t.Errorf("given up: exit code %d, %s", code, stderr)
	}
	c.editor(t, `echo 'idle: 1m' >> "$1"`)
	c.typing(t, "n\nn\n") // not applied, not again
	if code, _, stderr = c.run(t, "edit", "blog"); code != exitFailure || b.wrote.Text != "" {
		t.Errorf("not applied: exit code %d, %s", code, stderr)
	}
}

// TestEditApplied: what goes wrong after an edit was applied is told as it is; there is nothing to edit again, and no text left.
func TestEditApplied(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	b := editable()
	b.sites = exampleSites()
	b.sites[0].Replicas = []api.Replica{{ID: "blog-1", State: "ready"}}
	b.later = []api.Event{{Seq: 9, Site: "blog", Kind: "not-circulated", Reason: "it exited"}}
	c := newCLI(t).serve(t, b)
	c.interactive = func() bool { return true }
	c.editor(t, `echo 'idle: 1m' >> "$1"`)
	c.typing(t, "y\nn\n") // apply; no answer to anything else is meant
	code, _, stderr := c.run(t, "edit", "blog")
	if code != exitFailure || !strings.Contains(stderr, "it exited") || !strings.Contains(stderr, "hint: the old replicas stay") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	if strings.Contains(stderr, "Edit it again") || strings.Contains(stderr, "not changed") || b.wrote.Text != deployed+"idle: 1m\n" {
		t.Errorf("it was written as %q, and is told so:\n%s", b.wrote.Text, stderr)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) != 0 {
		t.Errorf("there is %v left, %v", left, err)
	}
}

// TestEditInterrupted: who interrupts at a question is told where the text is, though of nothing else.
func TestEditInterrupted(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	b := editable()
	c := newCLI(t).serve(t, b)
	ctx, interrupt := context.WithCancel(testutil.Context(t, patience))
	c.interactive = func() bool {
		interrupt()
		return true
	}
	c.editor(t, `echo 'idle: 1m' >> "$1"`)
	c.typing(t, "")
	code := execute(ctx, &c.env, []string{"edit", "blog"})
	if stderr := c.err.String(); code != exitInterrupted || !strings.Contains(stderr, "the text is in "+os.Getenv("TMPDIR")) || b.wrote.Text != "" {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

func TestRollback(t *testing.T) {
	sites := exampleSites()
	is, was := spec.New("blog"), spec.New("blog")
	is.Image, was.Image = "reg.example/blog:2", "reg.example/blog:1"
	sites[0].Spec, sites[0].ImageDigest, sites[0].Revision = &is, "sha256:2", 7
	sites[0].Versions = []api.Version{
		{Revision: 6, Replaced: noon.Add(-12 * time.Minute), ImageDigest: "sha256:1", Spec: &was},
		{Revision: 4, Replaced: noon.Add(-72 * time.Hour), ImageDigest: "sha256:1", Spec: &is},
	}
	b := &recorded{sites: sites}
	c := newCLI(t).serve(t, b)
	code, stdout, stderr := c.run(t, "rollback", "blog")
	want := "blog  ~ image: \"reg.example/blog:2\" -> \"reg.example/blog:1\"\nblog  ~ pinned: sha256:2 -> sha256:1\nblog  updated  \n"
	if code != 0 || strings.TrimSpace(stdout) != strings.TrimSpace(want) || !slices.Contains(b.calls, "rollback to 0, dry run: false blog") {
		t.Errorf("exit code %d, %q, %s, %v", code, stdout, stderr, b.calls)
	}
	if code, stdout, _ = c.run(t, "rollback", "blog", "--to", "4", "--dry-run"); code != 0 || !strings.HasPrefix(stdout, "blog  ~ pinned:") || !slices.Contains(b.calls, "rollback to 4, dry run: true blog") {
		t.Errorf("to another revision: exit code %d, %q, %v", code, stdout, b.calls)
	}
	if code, _, _ = c.run(t, "rollback", "nobody"); code != exitNotFound {
		t.Errorf("no such site: exit code %d", code)
	}
	_, stdout, _ = c.run(t, "get", "blog")
	if want := "7, before it 6 (reg.example/blog:1, until 12m ago), 4 (reg.example/blog:2, until 3d ago)"; !strings.Contains(stdout, want) {
		t.Errorf("get says\n%s", stdout)
	}
}
