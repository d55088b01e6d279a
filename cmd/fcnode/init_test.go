package main

import (
	"context"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fcnode/fcnode/tests/testutil"
)

func TestInit(t *testing.T) {
	t.Chdir(t.TempDir())
	c := newCLI(t)
	args := []string{"init", "blog", "--image", "docker.io/library/wordpress:6-apache", "--port", "80", "-v", "html:/var/www/html"}
	want := "name: blog\nimage: docker.io/library/wordpress:6-apache\nports: [80/tcp]\nvolumes:\n  - {name: html, target: /var/www/html}\n"
	code, _, stderr := c.run(t, args...)
	text, err := os.ReadFile("blog.yaml")
	if code != 0 || err != nil || string(text) != want || !strings.Contains(stderr, "fcnode apply -f blog.yaml") {
		t.Errorf("exit code %d, %q, %s, %v", code, text, stderr, err)
	}
	if code, _, stderr = c.run(t, args...); code != exitFailure || !strings.Contains(stderr, "--force") {
		t.Errorf("the file is there: exit code %d, %s", code, stderr)
	}
	if code, _, stderr = c.run(t, append(args, "--force")...); code != 0 {
		t.Errorf("--force: exit code %d, %s", code, stderr)
	}
	if code, stdout, stderr := c.run(t, append(args, "--file", "-")...); code != 0 || stdout != want {
		t.Errorf("to standard output: exit code %d, %q, %s", code, stdout, stderr)
	}
	for _, tt := range [][]string{
		{"init"}, {"init", "blog"}, {"init", "blog", "--image", "dir:/a"}, {"init", "Blog", "--image", "dir:/a", "--port", "80"},
		{"init", "x", "--image", "wordpress", "--port", "80"},
	} {
		if code, _, stderr := c.run(t, tt...); code != exitFailure {
			t.Errorf("%v: exit code %d, %s", tt, code, stderr)
		}
	}
	if _, err := os.Stat("x.yaml"); err == nil {
		t.Error("a spec that is wrong was written")
	}
}

// TestInitAsks: what is wrong is asked for again.
func TestInitAsks(t *testing.T) {
	t.Chdir(t.TempDir())
	c := newCLI(t)
	c.interactive = func() bool { return true }
	c.stdin = strings.NewReader("My Blog\nblog\nwordpress\ndocker.io/library/wordpress:6\nhttp\n\n-b.example\nblog.example, www.blog.example\nhtml\nhtml:/var/www/html\n")
	code, stdout, stderr := c.run(t, "init", "--file", "-")
	want := `name: blog
domains: [blog.example, www.blog.example]
image: docker.io/library/wordpress:6
ports: [80/tcp]
volumes:
  - {name: html, target: /var/www/html}
`
	if diff := cmp.Diff(want, stdout); code != 0 || diff != "" {
		t.Errorf("exit code %d, %s (-want +got):\n%s", code, stderr, diff)
	}
	if !strings.Contains(stderr, "did you mean docker.io/library/wordpress?") {
		t.Errorf("it does not say what is wrong:\n%s", stderr)
	}
	c.stdin = strings.NewReader("blog\n")
	if code, _, stderr := c.run(t, "init", "--file", "-"); code == 0 {
		t.Errorf("nobody answers: exit code %d, %s", code, stderr)
	}
}

// TestInitInterrupted: an interrupt ends a question that nobody answers.
func TestInitInterrupted(t *testing.T) {
	t.Chdir(t.TempDir())
	c := newCLI(t)
	c.interactive = func() bool { return true }
	r, w := io.Pipe()
	defer w.Close()
	c.stdin = r
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	code := make(chan int, 1)
	go func() { code <- execute(ctx, &c.env, []string{"init"}) }()
	if got := testutil.Receive(t, patience, "the end of the command", code); got != exitInterrupted {
		t.Errorf("exit code %d, %s", got, c.err.String())
	}
}
