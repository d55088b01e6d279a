package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/event"
)

// someRequests are a site that is asked every half hour, and one that is asked at random.
func someRequests(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("# two sites, a day\n")
	for m := 5; m < 1440; m += 30 {
		fmt.Fprintf(&b, "%d:1 ", m)
	}
	b.WriteString("\n")
	for m, step := 0, 1; m < 1440; m, step = m+step, step*7%53+1 {
		fmt.Fprintf(&b, "%d:%d ", m, 1+step%3)
	}
	b.WriteString("\n")
	path := filepath.Join(t.TempDir(), "requests.txt")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReplay(t *testing.T) {
	path := someRequests(t)
	c := newCLI(t)
	code, stdout, stderr := c.run(t, "replay", path, "-o", "json", "--policy", "plans,timeout=5m,oracle")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	var out []replayed
	if err := json.Unmarshal([]byte(stdout), &out); err != nil || len(out) != 3 {
		t.Fatalf("%v\n%s", err, stdout)
	}
	for _, r := range out {
		if !(r.Share > 0 && r.Share < 1) || r.Wakes <= 0 && r.Ahead <= 0 {
			t.Errorf("%+v", r)
		}
	}
	if code, stdout, stderr = c.run(t, "replay", path); code != 0 || !strings.Contains(stdout, "2 sites") || !strings.Contains(stdout, "ski-rental") {
		t.Errorf("exit %d:\n%s%s", code, stdout, stderr)
	}
}

func TestReplayRefuses(t *testing.T) {
	path := someRequests(t)
	bad := filepath.Join(t.TempDir(), "bad.txt")
	if err := os.WriteFile(bad, []byte("0:1\n5:1 4:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"none of: plans":                {"replay", path, "--policy", "magic"},
		"no duration":                   {"replay", path, "--policy", "timeout=soon"},
		"line 2: minute 4 comes after":  {"replay", bad},
		"no such file":                  {"replay", filepath.Join(t.TempDir(), "none")},
		"--late":                        {"replay", path, "--late", "much"},
		"--memory":                      {"replay", path, "--memory", "91"},
		"one of --rate, FILE, SITE":     {"plan"},
		"--have needs a FILE, a SITE":   {"plan", "--rate", "3", "--have", "1GiB"},
		"not even one site":             {"plan", path, "--have", "1MiB"},
		"--start and --over are times ": {"plan", "--rate", "3", "--start", "0s"},
	} {
		if code, _, stderr := newCLI(t).run(t, args...); code == 0 || !strings.Contains(stderr, want) {
			t.Errorf("%v: exit %d, %s", args, code, stderr)
		}
	}
}

func TestPlan(t *testing.T) {
	path := someRequests(t)
	for want, args := range map[string][]string{
		"6h52m":   {"plan", "--rate", "0.67"}, // ln(100)/0.67 h, and a little for the start
		"late 1%": {"plan", path},
		"budget":  {"plan", path, "--have", "128MiB"},
	} {
		if code, stdout, stderr := newCLI(t).run(t, args...); code != 0 || !strings.Contains(stdout, want) {
			t.Errorf("%v: exit %d, %s\n%s", args, code, stderr, stdout)
		}
	}
}

// TestReplayRecorded: what the node has recorded of a site, or of all, is played as a file is.
func TestReplayRecorded(t *testing.T) {
	b, err := os.ReadFile(someRequests(t))
	if err != nil {
		t.Fatal(err)
	}
	node := &recorded{arrivals: "# minutes 2880\n" + string(b), sites: []api.Site{{Name: "blog"}}}
	c := newCLI(t).serve(t, node)
	for want, args := range map[string][]string{
		`arrivals "blog" since 0001-01-01 00:00:00 +0000 UTC numbered false`: {"replay", "blog"},
		`arrivals "" since 2026-11-21 12:00:00 +0000 UTC numbered false`:     {"replay", "--all", "--since", "24h"},
	} {
		node.calls = nil
		code, stdout, stderr := c.run(t, args...)
		if code != 0 || !strings.Contains(stdout, "2 sites") || !strings.Contains(stdout, "48h0m0s") {
			t.Errorf("%v: exit %d:\n%s%s", args, code, stdout, stderr)
		}
		if len(node.calls) != 1 || node.calls[0] != want {
			t.Errorf("%v: the node was asked for %q, want %q", args, node.calls, want)
		}
	}
	path := someRequests(t)
	for want, args := range map[string][]string{
		"not found":          {"replay", "nobody"},
		"no such file":       {"replay", "./blog"},
		"is a file":          {"replay", path, "--since", "1h"},
		"one of FILE, SITE":  {"replay", path, "--all"},
		"one of SITE and --": {"record"},
		"--since":            {"record", "blog", "--since", "yesterday"},
	} {
		if code, _, stderr := c.run(t, args...); code == 0 || !strings.Contains(stderr, want) {
			t.Errorf("%v: exit %d: %s, want %q", args, code, stderr, want)
		}
	}
}

// TestRecord: the record is printed as the node gives it, so that it can be kept as a file.
func TestRecord(t *testing.T) {
	node := &recorded{arrivals: "# minutes 5\n1 | 0:3\n"}
	c := newCLI(t).serve(t, node)
	if code, stdout, stderr := c.run(t, "record", "--all", "--numbered"); code != 0 || stdout != node.arrivals {
		t.Errorf("exit %d: %q %s", code, stdout, stderr)
	}
	if want := `arrivals "" since 0001-01-01 00:00:00 +0000 UTC numbered true`; node.calls[0] != want {
		t.Errorf("the node was asked for %q, want %q", node.calls[0], want)
	}
}

// TestPlanOfASite: what is reckoned for a site rests on what the node has measured of it, unless a flag says
// otherwise; a site that can only run has nothing measured to sleep on.
func TestPlanOfASite(t *testing.T) {
	b, err := os.ReadFile(someRequests(t))
	if err != nil {
		t.Fatal(err)
	}
	node := &recorded{arrivals: string(b), sites: []api.Site{{Name: "blog"}}, why: sleeping()}
	c := newCLI(t).serve(t, node)
	run := func(args ...string) string {
		t.Helper()
		code, stdout, stderr := c.run(t, args...)
		if code != 0 {
			t.Fatalf("%v: exit %d: %s", args, code, stderr)
		}
		return stdout
	}
	measured, assumed := run("replay", "blog", "--policy", "timeout=5m"), run("replay", "blog", "--policy", "timeout=5m", "--memory", "91MiB")
	if measured == assumed || !strings.Contains(measured, "timeout=5m") {
		t.Errorf("what was measured makes no difference:\n%s%s", measured, assumed)
	}
	if out := run("plan", "blog"); !strings.Contains(out, "late 1%") || !strings.Contains(out, "2 sites") {
		t.Errorf("plan says\n%s", out)
	}
	node.why.Level = &api.Level{Class: "gold", Late: 0.001, Over: event.Nanoseconds(50 * time.Millisecond), Price: 1234, MemoryPrice: 1}
	if out := run("plan", "blog"); !strings.Contains(out, "The service level of blog is class gold: 0.1% over 50ms; that makes 1234 GiB·s for a second of waiting.") {
		t.Errorf("plan says\n%s", out)
	}
	if out := run("plan", "--all", "--have", "100MiB"); !strings.Contains(out, "evictions") {
		t.Errorf("plan says\n%s", out)
	}
	node.why = api.Why{Alternatives: []api.WhyTier{{Tier: api.TierRunning, Memory: 1 << 20}}}
	if out := run("replay", "blog", "--policy", "timeout=5m"); out != assumed {
		t.Errorf("of a site of which nothing is known replay says\n%s, want\n%s", out, assumed)
	}
}
