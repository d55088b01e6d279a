package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestState(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x")
	c := newCLI(t).serve(t, &recorded{})
	if code, _, stderr := c.run(t, "state", "export", file); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	if b, err := os.ReadFile(file); string(b) != "the state\n" || err != nil {
		t.Errorf("it wrote %q %v", b, err)
	}
	if code, stdout, _ := c.run(t, "state", "export", "-"); code != 0 || stdout != "the state\n" {
		t.Errorf("exit code %d, %q", code, stdout)
	}
	if code, _, stderr := c.run(t, "state", "import", file); code != 1 || !strings.Contains(stderr, "--replace") {
		t.Errorf("over sites: exit code %d, %q", code, stderr)
	}
	c.env.stdin = strings.NewReader("12")
	if code, stdout, stderr := c.run(t, "state", "import", "--replace", "-"); code != 0 || !strings.HasPrefix(stdout, "7 sites; ") {
		t.Errorf("exit code %d, %q, %s", code, stdout, stderr)
	}
	if code, _, stderr := c.run(t, "state", "import", file+".none"); code != 1 || !strings.Contains(stderr, "no such file") {
		t.Errorf("of no file: exit code %d, %q", code, stderr)
	}
}
