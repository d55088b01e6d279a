package main

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/event"
)

// sleeping is a site that sleeps checkpointed, and is visited every 41 minutes.
func sleeping() api.Why {
	at := noon.Add(-3 * time.Hour)
	return api.Why{
		Site: "blog", Tier: api.TierCheckpointed, Phase: api.PhaseParked, Since: at, Idle: event.Nanoseconds(3 * time.Hour),
		Pauses: 37, Median: event.Nanoseconds(41 * time.Minute), Long: event.Nanoseconds(2 * time.Hour), Comes: event.Nanoseconds(41 * time.Minute),
		Usual: &api.WhyUsual{From: event.Nanoseconds(36 * time.Minute), To: event.Nanoseconds(51 * time.Minute), Share: 0.8},
		Alternatives: []api.WhyTier{
			{Tier: api.TierRunning, Memory: 91 << 20, Hold: 219, Cost: 219},
			{Tier: api.TierReclaimed, Memory: 27 << 20, Wake: 92e6, Wakes: 8, Hold: 64.9, Wait: 92e6, Cost: 120, Rung: true, After: event.Nanoseconds(10 * time.Second)},
			{Tier: api.TierCheckpointed, Disk: 60 << 20, Wake: 200e6, Hold: 2.9, Wait: 200e6, Cost: 130, Rung: true, After: event.Nanoseconds(5 * time.Minute)},
			{Tier: api.TierPrepared, Cost: -1, Unused: "the configuration allows none (prepared.max)"},
		},
		Callers: []api.WhyCaller{{Client: netip.MustParseAddr("192.0.2.7"), Every: 300e9, Jitter: 2e9, Wakes: 12, Of: 14, Text: "192.0.2.7 wakes it every 300 s ± 2 s (12 of its last 14 wakes)"}},
		Follows: []api.WhyFollows{
			{Site: "shop", Came: 9.2, Wakes: 10.1, Lag: event.Nanoseconds(800 * time.Millisecond), Within: event.Nanoseconds(5 * time.Second), Woken: true},
			{Site: "wiki", Came: 4, Wakes: 90, Lag: event.Nanoseconds(2 * time.Second), Within: event.Nanoseconds(5 * time.Second)},
		},
		Decisions: []event.Event{
			{Time: at.Add(time.Second), Site: "blog", Kind: event.Ladder, Reason: "another"},
			{Time: at, Site: "blog", Kind: event.Checkpointed, Reason: "idle 5m0s"},
		},
	}
}

// TestLevelInWords: the class or the site's own, what is lacking of it, how it is held, and at which price.
func TestLevelInWords(t *testing.T) {
	over := event.Nanoseconds(100 * time.Millisecond)
	for want, l := range map[string]*api.Level{
		"|": nil,
		"class standard: 1% over 100ms|600 GiB·s for a second of waiting":                                                   {Class: "standard", Late: 0.01, Over: over, Price: 600, MemoryPrice: 1},
		"its own: 2% over 100ms; 0.5% of 1200 lately|3.21 GiB·s for a second of waiting":                                    {Late: 0.02, Over: over, Share: 0.005, Requests: 1200, Price: 3.21, MemoryPrice: 1},
		"class standard (the configuration has no class gold): 1% over 100ms|600 GiB·s for a second of waiting":             {Class: "standard", Missing: "gold", Late: 0.01, Over: over, Price: 600, MemoryPrice: 1},
		"class gold: 0.1% over 100ms, of each site 1%|600 GiB·s for a second of waiting; memory 2.5 times as dear as usual": {Class: "gold", Late: 0.001, Over: over, Each: 0.01, Price: 600, MemoryPrice: 2.5},
		"class gold: 0.1% over 100ms; not held to each: too few|600 GiB·s for a second of waiting":                          {Class: "gold", Late: 0.001, Over: over, Each: 0.01, NotEach: "each: too few", Price: 600, MemoryPrice: 1},
	} {
		if got := level(l) + "|" + price(l); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestWhy(t *testing.T) {
	node := &recorded{sites: []api.Site{{Name: "blog"}}, why: sleeping()}
	c := newCLI(t).serve(t, node)
	code, stdout, stderr := c.run(t, "why", "blog")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	for _, want := range []string{
		"blog is asleep as checkpointed since ", "(3h): idle 5m0s.",
		"Visits come every 41m (median of 37 pauses; nine in ten are over within 2h0m); 80 % of the pauses last 36m to 51m",
		"Keeping it reclaimed holds 27 MiB for 41m = 64.9 GiB·s, a visitor waits 92ms once: 120 GiB·s in all.",
		"Keeping it awake holds 91 MiB for 41m = 219 GiB·s, nobody waits: 219 GiB·s in all.",
		"192.0.2.7 wakes it every 300 s ± 2 s (12 of its last 14 wakes): a monitor",
		"Visits to it follow 9 of the last 10 wakes of shop within 5.0s, mostly after 0.8s: it is woken beside it.",
		"Visits to it follow 4 of the last 90 wakes of wiki within 5.0s, mostly after 2.0s: it is not woken beside it, as that does not pay, or has not yet.",
		"`ignore: [192.0.2.7]`", "200ms?", "now", "the configuration allows none (prepared.max)", "idle 5m0s",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("it does not say %q:\n%s", want, stdout)
		}
	}
	if strings.Contains(stdout, "Keeping it checkpointed") || strings.Contains(stdout, "Keeping it prepared") {
		t.Errorf("it says what is so, or cannot be, as if it were another way:\n%s", stdout)
	}
	code, stdout, stderr = c.run(t, "why", "blog", "-o", "json", "-n", "1")
	var got api.Why
	if err := json.Unmarshal([]byte(stdout), &got); code != 0 || err != nil || len(got.Decisions) != 1 || got.Alternatives[1].Hold != 64.9 {
		t.Errorf("exit %d: %v\n%s%s", code, err, stdout, stderr)
	}
	if code, _, stderr = c.run(t, "why", "nobody"); code != 3 {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

// TestWhyAwake: of a site that is awake, and of which nothing is known, it says so.
func TestWhyAwake(t *testing.T) {
	node := &recorded{sites: []api.Site{{Name: "blog"}}, why: api.Why{Site: "blog", Tier: api.TierRunning, Phase: api.PhaseRunning}}
	c := newCLI(t).serve(t, node)
	code, stdout, _ := c.run(t, "why", "blog")
	if code != 0 || !strings.Contains(stdout, "blog is awake. Somebody is there.\nNothing is known of the pauses") {
		t.Errorf("exit %d:\n%s", code, stdout)
	}
}
