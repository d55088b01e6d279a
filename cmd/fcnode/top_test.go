package main

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

func TestTop(t *testing.T) {
	c := newCLI(t).serve(t, &recorded{sites: exampleSites()})
	for name, args := range map[string][]string{
		"top.golden":        {"top", "--once"},
		"top-all.golden":    {"top", "--once", "--all", "--sort", "name"},
		"top-memory.golden": {"top", "--once", "--sort", "memory"},
	} {
		code, stdout, stderr := c.run(t, args...)
		if code != 0 || stderr != "" {
			t.Errorf("%v: exit code %d, stderr %s", args, code, stderr)
		}
		golden(t, name, stdout)
	}
	_, stdout, _ := c.run(t, "top", "--once", "--json", "--sort", "conns")
	var frame topFrame
	if err := json.Unmarshal([]byte(stdout), &frame); err != nil || len(frame.Sites) != 2 || frame.Sites[0].Name != "shop" || !frame.Time.Equal(noon) {
		t.Errorf("as JSON: %v, %s", err, stdout)
	}
	if code, _, stderr := c.run(t, "top", "--sort", "colour"); code != 1 || !strings.Contains(stderr, "name, conns, rps") {
		t.Errorf("sorted by nothing: %d, %s", code, stderr)
	}
}

// TestTopGoesOn: without a terminal one look follows the other, until
// interrupted.
func TestTopGoesOn(t *testing.T) {
	c := newCLI(t).serve(t, &recorded{sites: exampleSites()})
	r, w := io.Pipe()
	c.stdout = w
	ctx, cancel := context.WithCancel(testutil.Context(t, patience))
	ended := make(chan int, 1)
	go func() { ended <- execute(ctx, &c.env, []string{"top", "--json", "--interval", "1ms"}) }()
	dec := json.NewDecoder(r)
	for range 3 {
		var frame topFrame
		if err := dec.Decode(&frame); err != nil || len(frame.Sites) != 2 {
			t.Fatalf("a look: %v, %+v", err, frame)
		}
	}
	cancel()
	go func() { _, _ = io.Copy(io.Discard, r) }()
	if code := testutil.Receive(t, patience, "the end of top", ended); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	w.Close()
}

// TestTopTerminal: on a terminal the keys work, and it is given back as it was.
func TestTopTerminal(t *testing.T) {
	c := newCLI(t).serve(t, &recorded{sites: exampleSites()})
	user, path, err := console.NewPty()
	if err != nil {
		t.Fatal(err)
	}
	defer user.Close()
	if err := user.Resize(console.WinSize{Height: 12, Width: 60}); err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	before, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	c.stdin, c.stdout = tty, tty
	ended := make(chan int, 1)
	go func() { ended <- execute(testutil.Context(t, patience), &c.env, []string{"top", "--interval", "1h"}) }()
	seen := terminalText{t: t, from: user}
	seen.until("sorted by rps")
	if !strings.Contains(seen.text, "\x1b[?1049h") || !strings.Contains(seen.text, "2 sites, 4 replicas, 214 connections") {
		t.Errorf("the first picture: %q", seen.text)
	}
	seen.press("n")
	seen.until("sorted by name")
	seen.press("a")
	seen.until("4 sites")
	for line := range strings.SplitSeq(seen.text, "\r\n") {
		if shown := strings.NewReplacer("\x1b[H", "", "\x1b[K", "", "\x1b[J", "", "\x1b[?1049h", "", "\x1b[?25l", "", "\r", "").Replace(line); len([]rune(shown)) > 60 {
			t.Errorf("a line of more than 60 characters: %q", shown)
		}
	}
	seen.press("q")
	seen.until("\x1b[?1049l")
	if code := testutil.Receive(t, patience, "the end of top", ended); code != 0 {
		t.Errorf("exit code %d", code)
	}
	after, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil || *after != *before {
		t.Errorf("the terminal is not as it was: %+v, %v, was %+v", after, err, before)
	}
}

// terminalText is what a terminal was sent since the last look.
type terminalText struct {
	t    *testing.T
	from console.Console
	text string
}

func (s *terminalText) until(want string) {
	s.t.Helper()
	buf := make([]byte, 4096)
	for !strings.Contains(s.text, want) {
		n, err := s.from.Read(buf)
		if err != nil {
			s.t.Fatalf("the terminal ended before %q: %v, after %q", want, err, s.text)
		}
		s.text += string(buf[:n])
	}
}

func (s *terminalText) press(key string) {
	s.t.Helper()
	s.text = ""
	if _, err := s.from.Write([]byte(key)); err != nil {
		s.t.Fatal(err)
	}
}

func TestMetrics(t *testing.T) {
	c := newCLI(t).serve(t, &recorded{})
	if code, stdout, stderr := c.run(t, "metrics"); code != 0 || stdout != "fcnode_sites 4\n" || stderr != "" {
		t.Errorf("%d, %q, %q", code, stdout, stderr)
	}
}

func TestCirculate(t *testing.T) {
	sites := exampleSites()
	b := &recorded{sites: sites}
	c := newCLI(t).serve(t, b)
	if code, stdout, stderr := c.run(t, "circulate", "shop"); code != 0 || stdout != "shop  circulating  3 replicas\n" {
		t.Errorf("%d, %q, %q", code, stdout, stderr)
	}
	// What was there before the call is not what came of it.
	b.events = []api.Event{{Seq: 7, Time: noon, Site: "shop", Kind: "not-circulated", Reason: "an earlier try"}}
	b.later = []api.Event{
		{Seq: 8, Time: noon, Site: "shop", Kind: "circulating"},
		{Seq: 9, Time: noon, Site: "shop", Kind: "running"},
	}
	b.fresh = append([]api.Site(nil), sites...)
	b.fresh[1].Replicas = []api.Replica{{ID: "shop-17", State: "draining"}, {ID: "shop-20", State: "ready"}}
	if code, stdout, stderr := c.run(t, "circulate", "--wait", "shop"); code != 0 || stdout != "shop  circulated  running after 0.0 ms\n" {
		t.Errorf("waiting: %d, %q, %q", code, stdout, stderr)
	}
	b.fresh = nil
	b.later = []api.Event{{Seq: 8, Time: noon, Site: "shop", Kind: "not-circulated", Reason: "exit code 1"}}
	if code, stdout, stderr := c.run(t, "circulate", "--wait", "shop"); code != 1 || !strings.Contains(stderr, "exit code 1") || stdout != "" {
		t.Errorf("failing: %d, %q, %q", code, stdout, stderr)
	}
	if code, _, _ := c.run(t, "circulate", "nobody"); code != exitNotFound {
		t.Errorf("no site: exit code %d", code)
	}
}

func TestReplaced(t *testing.T) {
	before := &api.Site{Replicas: []api.Replica{{ID: "a-1", State: "ready"}}}
	for _, tt := range []struct {
		name string
		now  []api.Replica
		want bool
	}{
		{"nothing yet", []api.Replica{{ID: "a-1", State: "ready"}}, false},
		{"beside it", []api.Replica{{ID: "a-1", State: "ready"}, {ID: "a-2", State: "starting"}}, false},
		{"both", []api.Replica{{ID: "a-1", State: "ready"}, {ID: "a-2", State: "ready"}}, false},
		{"drains", []api.Replica{{ID: "a-1", State: "draining"}, {ID: "a-2", State: "ready"}}, true},
		{"stops without another", []api.Replica{{ID: "a-1", State: "stopping"}}, false},
		{"starts again", []api.Replica{{ID: "a-2", State: "starting"}}, false},
		{"fresh", []api.Replica{{ID: "a-2", State: "ready"}}, true},
		{"parked", nil, true},
	} {
		if got := replaced(before, &api.Site{Replicas: tt.now}); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestRates(t *testing.T) {
	for rate, want := range map[float64]string{0: "0", 0.04: "0.0", 0.5: "0.5", 9.9: "9.9", 9.96: "10", 12034.4: "12034"} {
		if got := rps(rate); got != want {
			t.Errorf("rps(%v) = %s, want %s", rate, got, want)
		}
	}
	if got := threshold(api.Trigger{Kind: api.TriggerLatency, Threshold: float64(200 * time.Millisecond)}); got != "200ms" {
		t.Errorf("a threshold of latency: %s", got)
	}
}
