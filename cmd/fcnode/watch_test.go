package main

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fcnode/fcnode/runtime/api"
)

func us(n float64) api.Nanoseconds { return api.Nanoseconds(n * 1000) }

// exampleTraces are the one of the design and the ugly ones.
func exampleTraces() map[string]api.Trace {
	start := time.Date(2026, 11, 22, 10, 31, 7, 482_300_000, time.UTC)
	design := api.Trace{
		Site: "blog", Start: start, From: api.TierCheckpointed, Client: netip.MustParseAddrPort("203.0.113.9:52114"), Result: api.ResultOK,
		Steps: []api.Step{
			{Name: api.StepHeld},
			{Name: api.StepEventRead, At: us(61)},
			{Name: api.StepRestoring, At: us(190)},
			{Name: api.StepListening, At: us(98403)},
			{Name: "released, connected", At: us(98551)},
			{Name: api.StepFirstByte, At: us(171204)},
		},
	}
	failed := api.Trace{
		Site: "blog", Start: start, From: api.TierCold, Client: netip.MustParseAddrPort("[2001:db8:1:2:3:4:5:6]:52114"), Result: api.ResultFailed,
		Error: "it did not listen on 80/tcp within 30s",
		Steps: []api.Step{{Name: api.StepHeld}, {Name: api.StepStarted, At: us(31000)}, {Name: "given up", At: us(30e6)}},
	}
	return map[string]api.Trace{
		"design": design,
		"failed": failed,
		"by hand": {
			Site: "blog", Start: start, From: api.TierCold, Result: api.ResultPending,
			Steps: []api.Step{{Name: api.StepAsked}},
		},
		"early answer": {
			Site: "blog", Start: start, From: api.TierCold, Result: api.ResultOK,
			Steps: []api.Step{{Name: api.StepHeld}, {Name: api.StepFirstByte, At: us(22818)}, {Name: "answered", At: us(24555)}},
		},
		"no steps":  {Site: "blog", Start: start, From: api.TierCold, Result: api.ResultPending},
		"long name": {Site: "blog", Start: start, From: api.TierFrozen, Result: api.ResultOK, Steps: []api.Step{{Name: strings.Repeat("ö", 90)}, {Name: "end", At: us(700)}}},
	}
}

func TestTrace(t *testing.T) {
	for name, trace := range exampleTraces() {
		for _, columns := range []int{0, 60, 120} {
			var wide string
			c := newCLI(t).serve(t, &recorded{sites: exampleSites(), traces: []api.Trace{trace}})
			if columns > 0 {
				c.columns = func() (int, bool) { return columns, true }
				wide = "-" + map[int]string{60: "narrow", 120: "wide"}[columns]
			}
			code, stdout, stderr := c.run(t, "trace", "blog")
			if code != 0 || stderr != "" {
				t.Errorf("exit code %d, stderr %s", code, stderr)
			}
			golden(t, "trace-"+strings.ReplaceAll(name, " ", "-")+wide+".golden", stdout)
			for line := range strings.Lines(stdout) {
				limit := columns
				if limit == 0 {
					limit = defaultColumns
				}
				if n := len([]rune(strings.TrimRight(line, "\n"))); n > limit && limit > 60 {
					t.Errorf("%s: a line of %d characters on %d columns: %s", name, n, limit, line)
				}
			}
		}
	}
}

func TestTraces(t *testing.T) {
	design := exampleTraces()["design"]
	b := &recorded{sites: exampleSites(), traces: []api.Trace{design, design, design}}
	c := newCLI(t).serve(t, b)
	_, stdout, _ := c.run(t, "trace", "blog", "-n", "2")
	if strings.Count(stdout, "wake 2026") != 2 || strings.Count(stdout, "\n\n") != 1 {
		t.Errorf("two wakes:\n%s", stdout)
	}
	_, stdout, _ = c.run(t, "trace", "blog", "-o", "json")
	golden(t, "trace.json", stdout)
	b.traces = nil
	if _, stdout, stderr := c.run(t, "trace", "blog"); stdout != "" || stderr != "blog was not woken yet.\n" {
		t.Errorf("no wakes: %q, %q", stdout, stderr)
	}
	if code, _, _ := c.run(t, "trace", "nobody"); code != exitNotFound {
		t.Errorf("no site: exit code %d", code)
	}
}

func exampleEvents() []api.Event {
	return []api.Event{
		{Seq: 1, Time: noon, Kind: "started", Text: "the node runs on 6.12.9 with tcx"},
		{Seq: 2, Time: noon.Add(time.Millisecond), Site: "blog", Replica: "blog-1", Kind: "waking", Reason: "first packet", Fields: map[string]any{"client": "203.0.113.9"}},
		{Seq: 3, Time: noon.Add(time.Second), Site: "blog", Kind: "parked"},
	}
}

func TestEvents(t *testing.T) {
	b := &recorded{events: exampleEvents()}
	c := newCLI(t).serve(t, b)
	_, stdout, _ := c.run(t, "events", "--site", "blog", "--since", "7", "-n", "5")
	golden(t, "events.golden", stdout)
	if diff := cmp.Diff(api.EventOptions{Since: 7, Last: 5, Site: "blog"}, b.evOpts); diff != "" {
		t.Error(diff)
	}
	_, stdout, _ = c.run(t, "events", "-o", "json")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	var second api.Event
	if len(lines) != 3 || json.Unmarshal([]byte(lines[1]), &second) != nil || second.Fields["client"] != "203.0.113.9" {
		t.Errorf("as JSON: %s", stdout)
	}
}

func TestLogs(t *testing.T) {
	b := &recorded{sites: exampleSites(), logs: []api.LogLine{
		{Time: noon, Stream: "stdout", Text: "one "},
		{Time: noon, Stream: "stdout", Text: "half", Partial: true},
		{Time: noon, Stream: "stdout", Text: " whole"},
		{Time: noon, Stream: "stderr", Text: "oops"},
	}}
	c := newCLI(t).serve(t, b)
	if _, stdout, stderr := c.run(t, "logs", "blog"); stdout != "one \nhalf whole\n" || stderr != "oops\n" {
		t.Errorf("stdout %q, stderr %q", stdout, stderr)
	}
	if b.logOpts != (api.LogOptions{Tail: -1}) {
		t.Errorf("options %+v", b.logOpts)
	}
	_, stdout, _ := c.run(t, "logs", "blog", "-t", "--tail", "3", "--since", "10m", "--replica", "blog-1")
	if !strings.HasPrefix(stdout, "2026-11-22T12:00:00.000Z  one \n") {
		t.Errorf("with times: %q", stdout)
	}
	if want := (api.LogOptions{Tail: 3, Since: noon.Add(-10 * time.Minute), Replica: "blog-1"}); b.logOpts != want {
		t.Errorf("options %+v, want %+v", b.logOpts, want)
	}
	if code, _, stderr := c.run(t, "logs", "blog", "--since", "yesterday"); code != 1 || !strings.Contains(stderr, "want a duration like 10m") {
		t.Errorf("%d, %s", code, stderr)
	}
}

// TestLogsGrep: a line is shown whole or not at all, in however many parts it came, and whatever another replica printed meanwhile.
func TestLogsGrep(t *testing.T) {
	b := &recorded{sites: exampleSites(), logs: []api.LogLine{
		{Time: noon, Stream: "stdout", Replica: "blog-1", Text: "GET /"},
		{Time: noon, Stream: "stdout", Replica: "blog-1", Text: "PHP Fatal", Partial: true},
		{Time: noon, Stream: "stdout", Replica: "blog-2", Text: "GET /two"},
		{Time: noon, Stream: "stderr", Replica: "blog-1", Text: "PHP Warning"},
		{Time: noon.Add(time.Second), Stream: "stdout", Replica: "blog-1", Text: " error"},
		{Time: noon, Stream: "stdout", Replica: "blog-2", Text: "PHP at its end", Partial: true},
	}}
	c := newCLI(t).serve(t, b)
	_, stdout, stderr := c.run(t, "logs", "blog", "-t", "--grep", "^PHP (Fatal error|Warn|at)")
	const at = "2026-11-22T12:00:00.000Z  "
	if stdout != at+"PHP Fatal error\n"+at+"PHP at its end\n" || stderr != at+"PHP Warning\n" {
		t.Errorf("stdout %q, stderr %q", stdout, stderr)
	}
	if _, stdout, stderr = c.run(t, "logs", "blog", "--grep", "nothing"); stdout != "" || stderr != "" {
		t.Errorf("stdout %q, stderr %q", stdout, stderr)
	}
	if code, _, stderr := c.run(t, "logs", "blog", "--grep", "("); code != 1 || !strings.Contains(stderr, `--grep "(" is no regular expression`) {
		t.Errorf("%d, %s", code, stderr)
	}
}
