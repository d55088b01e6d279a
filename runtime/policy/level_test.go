package policy

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/detect/sleep"
)

const classes = "classes: {gold: {late: 0.1%, over: 50ms, each: 1%}, economy: {late: 5%, over: 300ms}}\n"

// TestLevels: a site has the level of its class, of the standard one where it names none or one that is gone, or its own.
func TestLevels(t *testing.T) {
	p := openPlans(t, t.TempDir(), classes)
	for yaml, want := range map[string]Level{
		"":                              {Name: "standard", Class: sleep.Class{Late: 0.01, Over: 100 * time.Millisecond}},
		"class: gold":                   {Name: "gold", Class: sleep.Class{Late: 0.001, Over: 50 * time.Millisecond, Each: 0.01}},
		"class: silver":                 {Name: "standard", Missing: "silver", Class: sleep.Class{Late: 0.01, Over: 100 * time.Millisecond}},
		"objective: {late: 0.5%}":       {Class: sleep.Class{Late: 0.005, Over: 100 * time.Millisecond}},
		"objective: {cold: 2%}":         {Class: sleep.Class{Late: 0.02, Over: 10 * time.Millisecond}},
		"objective: {wake: 1s}":         {Name: "standard", Class: sleep.Class{Late: 0.01, Over: 100 * time.Millisecond}},
		"class: economy, idle: 5m":      {Name: "economy", Class: sleep.Class{Late: 0.05, Over: 300 * time.Millisecond}},
		"class: economy, tiers: [cold]": {Name: "economy", Class: sleep.Class{Late: 0.05, Over: 300 * time.Millisecond}},
	} {
		s := parseSite(t, yaml)
		if got := p.Classes.Of(s); got != want {
			t.Errorf("%q has %+v, want %+v", yaml, got, want)
		}
		if err := p.Classes.Unknown(s); (err != nil) != (want.Missing != "") || err != nil && !strings.Contains(err.Error(), "only economy, gold, standard") {
			t.Errorf("%q: %v", yaml, err)
		}
	}
}

// visitor comes to a site again and again.
type visitor struct {
	in Input
	at time.Time
}

func (v *visitor) comes(after time.Duration, requests, late uint64) {
	v.at = v.at.Add(after)
	v.in.Plans.Visited(v.in, Visits{Begin: v.at, End: v.at, Requests: requests, Late: late})
}

// noticed is from which idle time on a visitor notices that the site sleeps.
func noticed(in Input) time.Duration {
	for _, r := range in.Choose().Rungs {
		if r.Tier != detect.TierFrozen {
			return r.After
		}
	}
	return 1 << 62
}

// TestThePriceFollowsLateRequests: of its class and of no other; it makes sites of the class sleep later; the next daemon
// goes on with it, and one whose class is gone leaves it.
func TestThePriceFollowsLateRequests(t *testing.T) {
	dir := t.TempDir()
	p := openPlans(t, dir, classes)
	site := func(yaml string) *visitor {
		in := visitsOf(t, yaml)
		in.Plans = p
		return &visitor{in, in.Now}
	}
	gold, economy, fixed, own := site("class: gold"), site("class: economy"), site("class: gold, tiers: [{tier: cold, after: 1h}]"), site("objective: {late: 10%}")
	before := noticed(gold.in)
	for range 200 {
		gold.comes(time.Minute, 10, 1) // a hundred times too many
		economy.comes(time.Minute, 10, 0)
		own.comes(time.Minute, 10, 0)
		fixed.comes(time.Minute, 1000, 1000) // nothing can be done about it
	}
	prices := p.Prices()
	if names := slices.Sorted(maps.Keys(prices)); !slices.Equal(names, []string{"economy", "gold", "standard"}) {
		t.Errorf("there are prices of %q", names)
	}
	visit := func(name string) float64 {
		s := prices[name]
		return s.Visit()
	}
	if g, e, s := visit("gold"), visit("economy"), visit("standard"); g < 10*s || e >= s || s != 600 {
		t.Errorf("a second is worth %g of gold, %g of economy, %g of standard", g, e, s)
	}
	if g := prices["gold"]; g.Requests != 2000 || g.Late != 200 {
		t.Errorf("of %d requests %d were late", g.Requests, g.Late)
	}
	if late, of := new(Steered).Share(); late != 0 || of != 0 {
		t.Errorf("of nothing %g were late", late)
	}
	gp := prices["gold"]
	if late, of := gp.Share(); late < 0.09 || late > 0.11 || of < 1000 {
		t.Errorf("lately %g were late, of %g", late, of)
	}
	if own.in.Experience.Price.Visit() >= 600 {
		t.Errorf("nobody is late at a site of its own price, and that is %g", own.in.Experience.Price.Visit())
	}
	if after := noticed(gold.in); after <= before {
		t.Errorf("it was to be woken noticeably after %s, and with a second so dear after %s", before, after)
	}
	if err := p.Save(); err != nil {
		t.Fatal(err)
	}
	if next := openPlans(t, dir, classes).Prices()["gold"]; next.Price != gp.Price || !next.At.Equal(gp.At) || next.Late != gp.Late {
		t.Errorf("the next daemon has %+v, want %+v", next, gp)
	}
	gone := openPlans(t, dir, "")
	gold.in.Plans = gone
	if v := gone.LevelOf(gold.in); v.Class != "standard" || v.Missing != "gold" || v.Price > 2000 {
		t.Errorf("of a class that is gone: %+v", v)
	}
	if v := p.LevelOf(fixed.in); v != nil {
		t.Errorf("no price changes when it sleeps: %+v", v)
	}
	kept := own.in.Experience.Clone()
	own.comes(time.Minute, 10, 10)
	if *kept.Price == *own.in.Experience.Price {
		t.Error("a copy of a site's price changes with it")
	}
}

// TestLateBeforeItsRequest: a wake may be over before or after its request is counted; it counts once.
func TestLateBeforeItsRequest(t *testing.T) {
	var s Steered
	now := time.Unix(1_800_000_000, 0)
	s.observe(now, 0, 2, 0.01, false)
	if s.Late != 0 || s.Waiting != 2 {
		t.Fatalf("no request was counted, and of late ones %+v", s)
	}
	s.observe(now, 1, 0, 0.01, false)
	s.observe(now, 100, 0, 0.01, false)
	if s.Late != 2 || s.Waiting != 0 || s.Requests != 101 {
		t.Errorf("%+v", s)
	}
}

// TestTheBudgetIsTheBound: memory gets dearer while sites hold too much, and by that they sleep sooner; meanwhile no price of
// waiting rises. Without a budget of the configuration what was learnt under one is not gone on with.
func TestTheBudgetIsTheBound(t *testing.T) {
	dir := t.TempDir()
	const budget = "memory: {sites: 1GiB}\n"
	p := openPlans(t, dir, budget)
	in := visitsOf(t, "")
	in.Plans = p
	v := &visitor{in, in.Now}
	before := noticed(in)
	for range 3600 {
		p.Pressed(time.Second, 1<<30)
	}
	if m := p.Memory(); m < 100 {
		t.Errorf("after an hour of full memory a GiB costs %g", m)
	}
	if after := noticed(in); after >= before {
		t.Errorf("it was to be woken noticeably after %s, and with memory short after %s", before, after)
	}
	for range 50 {
		v.comes(time.Minute, 1, 1)
	}
	if s := p.Prices()["standard"]; s.Visit() > 600 {
		t.Errorf("memory is the bound, and a second of waiting is worth %g", s.Visit())
	}
	if err := p.Save(); err != nil {
		t.Fatal(err)
	}
	if next := openPlans(t, dir, budget); next.Memory() != p.Memory() {
		t.Errorf("the next daemon has %g, want %g", next.Memory(), p.Memory())
	}
	if next := openPlans(t, dir, ""); next.Memory() != 1 {
		t.Errorf("without a budget a GiB costs %g", next.Memory())
	}
}

// TestEach: a site of which too little is known is held to the bound for each site, one with enough requests
// is, and one with too few is not, and is told so.
func TestEach(t *testing.T) {
	for name, c := range map[string]struct {
		hours, aDay uint64
		refused     bool
	}{"new": {10, 24, false}, "seldom visited": {48, 24, true}, "often visited": {48, 2400, false}} {
		in := visitsOf(t, "class: gold")
		in.Plans = openPlans(t, t.TempDir(), classes)
		v := &visitor{in, in.Now}
		for range c.hours {
			v.comes(time.Hour, c.aDay/24, c.aDay/24)
		}
		got := in.Plans.LevelOf(in)
		if (got.NotEach != "") != c.refused || c.refused && !strings.Contains(got.NotEach, "it takes 300") {
			t.Errorf("%s: %q", name, got.NotEach)
		}
		if own := in.Experience.State.Own; (own > 0) == c.refused {
			t.Errorf("%s: its own factor is e^%g", name, own)
		}
	}
}

// TestCosts: whoever asks for a level of a site's own is told what that costs, and of one without effect.
func TestCosts(t *testing.T) {
	for yaml, want := range map[string]string{
		"": "", "class: gold": "", "objective: {wake: 1s}": "",
		"objective: {cold: 1%}":                                  "objective.cold: 1% of this site's own requests may wait for over 10ms",
		"objective: {late: 2%}":                                  "fewer than 50 requests",
		"class: gold, tiers: [{tier: cold, after: 1h}]":          "class: changes nothing: the spec says itself when the site sleeps",
		"class: gold, idle: never":                               "class: changes nothing: the spec says itself when the site sleeps",
		"objective: {late: 2%}, tiers: [cold], idle: 5m":         "objective.late: changes nothing",
		"objective: {cold: 2%}, tiers: [frozen, cold], idle: 5m": "",
	} {
		got := strings.Join(Costs(parseSite(t, yaml)), "; ")
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", yaml, got, want)
		}
	}
}

// TestDeeper: who is sent away goes where he wakes soonest and holds less; of a list only to its tiers.
func TestDeeper(t *testing.T) {
	x := NewExperience()
	x.Tier(detect.TierFrozen).Memory = 91 << 20
	x.Tier(detect.TierReclaimed).Memory = 27 << 20
	for tier, wake := range map[detect.Tier]time.Duration{detect.TierPrepared: 700 * time.Millisecond, detect.TierCheckpointed: 200 * time.Millisecond, detect.TierCold: 750 * time.Millisecond} {
		x.Tier(tier).AddWake(wake)
	}
	for _, c := range []struct {
		yaml  string
		at    detect.Tier
		holds float64
		want  detect.Tier
	}{
		{"", detect.TierFrozen, 91 << 20, detect.TierReclaimed},
		{"", detect.TierFrozen, 28 << 20, detect.TierCheckpointed},
		{"", detect.TierReclaimed, 27 << 20, detect.TierCheckpointed},
		{"tiers: [frozen, cold]", detect.TierFrozen, 91 << 20, detect.TierCold},
		{"tiers: [frozen]", detect.TierFrozen, 91 << 20, ""},
		{"objective: {wake: 800ms}", detect.TierReclaimed, 27 << 20, detect.TierCheckpointed},
		{"", detect.TierCold, 0, ""},
	} {
		in := planned(t, c.yaml)
		in.Experience = x
		if got, _, ok := in.Deeper(c.at, c.holds); got != c.want || ok != (c.want != "") {
			t.Errorf("%q, %s with %g bytes: %s, %v; want %s", c.yaml, c.at, c.holds, got, ok, c.want)
		}
	}
}
