package main

import (
	"bytes"
	"context"
	"flag"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/store"
	"github.com/fcnode/fcnode/tests/testutil"
)

var update = flag.Bool("update", false, "write the golden files and the reference pages anew")

const patience = 10 * time.Second

// cli runs command lines in-process.
type cli struct {
	env
	out, err bytes.Buffer
}

// newCLI talks to nobody; see serve.
func newCLI(t *testing.T) *cli {
	t.Helper()
	c := &cli{}
	socket := filepath.Join(t.TempDir(), "s")
	c.env = env{
		stdin:  strings.NewReader(""),
		stdout: &c.out,
		stderr: &c.err,
		getenv: func(name string) string {
			if name == "FCNODE_SOCKET" {
				return socket
			}
			return ""
		},
		now: func() time.Time { return noon },
		take: func(_ context.Context, _ config.Config, name string, text []byte, replace bool) (int, error) {
			if !replace {
				return 0, store.ErrNotEmpty
			}
			return len(name) + len(text), nil
		},
		columns:     func() (int, bool) { return 0, false },
		interactive: func() bool { return false },
	}
	return c
}

// serve answers the command line's calls from b.
func (c *cli) serve(t *testing.T, b api.Backend) *cli {
	t.Helper()
	ln, _, err := api.Listen(c.socketPath(), "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- api.NewServer(b, slog.New(slog.DiscardHandler)).Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := testutil.Receive(t, patience, "the server's end", served); err != nil {
			t.Error(err)
		}
	})
	return c
}

// run executes one command line and gives what it wrote.
func (c *cli) run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	c.out.Reset()
	c.err.Reset()
	c.parsed, c.socket = false, ""
	code = execute(testutil.Context(t, patience), &c.env, args)
	return code, c.out.String(), c.err.String()
}

// golden compares with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("output differs from %s (write it anew with -update):\n%s", path, diff)
	}
}

func TestExitCodes(t *testing.T) {
	tests := []struct {
		name   string
		server bool
		args   []string
		code   int
		stderr string // all of it, or its beginning if it ends in …
	}{
		{"help", false, nil, 0, ""},
		{"unknown command", false, []string{"lst"}, 2, "fcnode: unknown command \"lst\" for \"fcnode\"\n…"},
		{"unknown flag", false, []string{"list", "--all"}, 2, "fcnode: unknown flag: --all\n  hint: see `fcnode list --help`\n"},
		{"wrong format", false, []string{"list", "-o", "xml"}, 2, "fcnode: invalid argument \"xml\" for \"-o, --output\" flag: must be table or json\n…"},
		{"no site given", false, []string{"get"}, 2, "fcnode: accepts 1 arg(s), received 0\n  hint: see `fcnode get --help`\n"},
		{"no file given", false, []string{"apply"}, 2, "fcnode: no file given: use -f FILE, -f FOLDER or -f -\n…"},
		{"no command given", false, []string{"exec", "blog", "--"}, 2, "fcnode: no command given: use fcnode exec SITE -- COMMAND\n…"},
		{"no such site", true, []string{"get", "nobody"}, 3, "fcnode: site \"nobody\": not found\n"},
		{"no daemon", false, []string{"list"}, 4, "fcnode: no daemon: there is no socket …"},
		{"busy", true, []string{"park", "shop"}, 1, "fcnode: shop has connections\n  hint: --force breaks them\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCLI(t)
			if tt.server {
				c.serve(t, &recorded{sites: exampleSites()})
			}
			code, _, stderr := c.run(t, tt.args...)
			want, prefix := strings.CutSuffix(tt.stderr, "…")
			if code != tt.code || (prefix && !strings.HasPrefix(stderr, want)) || (!prefix && stderr != want) {
				t.Errorf("exit code %d, want %d; stderr:\n%s\nwant:\n%s", code, tt.code, stderr, tt.stderr)
			}
		})
	}
}

func TestNoDaemonHint(t *testing.T) {
	c := newCLI(t)
	_, _, stderr := c.run(t, "list", "--socket", "/nowhere/s")
	want := "fcnode: no daemon: there is no socket /nowhere/s\n" +
		"  hint: start it with `systemctl start fcnode` or `fcnode run`, or name another socket with --socket\n"
	if stderr != want {
		t.Errorf("stderr:\n%s\nwant:\n%s", stderr, want)
	}
}

func TestInterrupt(t *testing.T) {
	b := &recorded{sites: exampleSites(), events: exampleEvents()}
	for _, args := range [][]string{{"events", "-f"}, {"logs", "-f", "blog"}} {
		t.Run(args[0], func(t *testing.T) {
			c := newCLI(t).serve(t, b)
			b.logs = []api.LogLine{{Stream: "stdout", Text: "hello"}}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			// The user interrupts when the first line is there.
			r, w := io.Pipe()
			c.stdout = w
			ended := make(chan int, 1)
			go func() { ended <- execute(ctx, &c.env, args) }()
			if _, err := r.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = io.Copy(io.Discard, r) }()
			cancel()
			if code := testutil.Receive(t, patience, "the command's end", ended); code != exitInterrupted || c.err.Len() > 0 {
				t.Errorf("exit code %d, stderr %s", code, c.err.String())
			}
			w.Close()
		})
	}
}
