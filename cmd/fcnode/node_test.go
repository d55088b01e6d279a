package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/node"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "fcnode.yaml")
	if err := os.WriteFile(file, []byte("stateDir: /srv/state\nrunDir: /srv/run\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	supervisor := listenNotify(t, filepath.Join(dir, "notify"))
	c := newCLI(t)
	c.getenv = func(string) string { return "" }
	var got config.Config
	c.node = func(_ context.Context, cfg config.Config, log *slog.Logger, ready node.Ready) error {
		got = cfg
		ready("3 sites", func(time.Duration) string { return "" })
		log.Debug("detail", "n", 1)
		return nil
	}
	code, stdout, stderr := c.run(t, "run", "-c", file, "--run-dir", "/tmp/r", "--runner", "/opt/runner", "--log-format", "json", "--log-level", "debug")
	if code != 0 || stdout != "" {
		t.Fatalf("exit code %d, stderr %s", code, stderr)
	}
	if got.StateDir != "/srv/state" || got.RunDir != "/tmp/r" || got.Socket != "/tmp/r/fcnode.sock" || got.Runner != "/opt/runner" {
		t.Errorf("configuration %+v", got)
	}
	var line struct{ Level, Msg string }
	if err := json.Unmarshal([]byte(stderr), &line); err != nil || line.Level != "DEBUG" || line.Msg != "detail" {
		t.Errorf("log %q: %v", stderr, err)
	}
	for _, want := range []string{"READY=1\nSTATUS=3 sites", "STOPPING=1"} {
		if text := supervisor(); text != want {
			t.Errorf("the supervisor was told %q, want %q", text, want)
		}
	}
}

// listenNotify is a supervisor; each call gives the next thing that it was
// told.
func listenNotify(t *testing.T, path string) func() string {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return func() string {
		buf := make([]byte, 1024)
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
}

// TestWatchdog: the supervisor is told that the daemon lives until something hangs in it, and again when that goes on.
func TestWatchdog(t *testing.T) {
	supervisor := listenNotify(t, filepath.Join(t.TempDir(), "notify"))
	t.Setenv("WATCHDOG_USEC", "40000")
	asked := make(chan time.Duration)
	answers := make(chan string)
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() {
		defer close(over)
		n := notifier{log: slog.New(slog.DiscardHandler)}
		n.feed(ctx, n.watchdog(), func(limit time.Duration) string {
			asked <- limit
			return <-answers
		})
	}()
	for _, answer := range []string{"", "", "the loop of held packets", "the loop of held packets", ""} {
		if limit := <-asked; limit != 20*time.Millisecond {
			t.Errorf("asked for what has hung for %s, want half of the watchdog's time", limit)
		}
		answers <- answer
	}
	<-asked // so what was told of the five answers is told
	for range 3 {
		if told := supervisor(); told != "WATCHDOG=1" {
			t.Errorf("the supervisor was told %q", told)
		}
	}
	cancel()
	answers <- "hangs at the end, too"
	<-over
	notifier{log: slog.New(slog.DiscardHandler)}.stopping()
	if told := supervisor(); told != "STOPPING=1" {
		t.Errorf("the supervisor was told %q of something that hangs", told)
	}
}

func TestRunRefuses(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("prefixs: [10.0.0.0/8]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	good := filepath.Join(dir, "good.yaml")
	if err := os.WriteFile(good, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, args, want string }{
		{"bad file", "-c " + bad, "fcnode: " + bad + ":1:1: "},
		{"no file", "-c " + bad + "x", "no such file"},
		{"bad flag", "-c " + good + " --state-dir relative/path", "with the flags of the command line"},
		{"level", "--log-level loud", `--log-level "loud": want debug`},
		{"format", "--log-format xml", `--log-format "xml": want text or json`},
		{"node fails", "-c " + good, "fcnode: fc0 is taken"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCLI(t)
			c.node = func(context.Context, config.Config, *slog.Logger, node.Ready) error {
				return errors.New("fc0 is taken")
			}
			if code, _, stderr := c.run(t, append([]string{"run"}, strings.Fields(tt.args)...)...); code != 1 || !strings.Contains(stderr, tt.want) {
				t.Errorf("exit code %d, stderr %q, want %q", code, stderr, tt.want)
			}
		})
	}
}
