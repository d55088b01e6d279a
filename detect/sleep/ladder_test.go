package sleep

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/detect/change"
	"github.com/fcnode/fcnode/detect/internal/figure"
)

const ms = time.Millisecond

// wordpress and small are sites that were measured.
var (
	wordpress = []TierCost{
		{Tier: detect.TierRunning, Memory: 91 * figure.MiB, CPU: 0.003, HeldKnown: true},
		{Tier: detect.TierFrozen, Median: ms / 2, P99: ms, Samples: 200, Memory: 91 * figure.MiB, HeldKnown: true},
		{Tier: detect.TierReclaimed, Median: 20 * ms, P99: 30 * ms, Samples: 200, Memory: 38 * figure.MiB, HeldKnown: true},
		{Tier: detect.TierCheckpointed, Median: 180 * ms, P99: 260 * ms, Samples: 200, Disk: 60 * figure.MiB, HeldKnown: true},
		{Tier: detect.TierCold, Median: 700 * ms, P99: 850 * ms, Samples: 200},
	}
	small = []TierCost{
		{Tier: detect.TierRunning, Memory: 12 * figure.MiB, CPU: 0.001, HeldKnown: true},
		{Tier: detect.TierFrozen, Memory: 12 * figure.MiB, HeldKnown: true},
		{Tier: detect.TierCold, Median: 18 * ms, P99: 30 * ms, Samples: 200},
	}
)

func tiersOf(c Choice) string {
	var names []string
	for _, r := range c.Rungs {
		names = append(names, string(r.Tier))
	}
	return strings.Join(names, " ")
}

func TestLadder(t *testing.T) {
	allow := func(tiers ...detect.Tier) (out []Rung) {
		for _, tier := range tiers {
			out = append(out, Rung{Tier: tier})
		}
		return out
	}
	for _, c := range []struct {
		name string
		in   LadderInput
		want string
	}{
		{"nothing is known", LadderInput{}, "frozen reclaimed checkpointed cold"},
		{"a slow starter is checkpointed", LadderInput{Costs: wordpress}, "frozen reclaimed checkpointed cold"},
		{"a quick one is prepared", LadderInput{Costs: small}, "frozen prepared cold"},
		{"only what is allowed", LadderInput{Costs: wordpress, Allowed: allow(detect.TierFrozen, detect.TierCheckpointed)}, "frozen checkpointed"},
		{"nothing is allowed", LadderInput{Costs: wordpress, Allowed: []Rung{}}, ""},
		{"a wake within 500 ms", LadderInput{Costs: wordpress, Objective: Objective{Wake: 500 * ms}}, "frozen reclaimed checkpointed"},
		{"a wake within 50 ms", LadderInput{Costs: wordpress, Objective: Objective{Wake: 50 * ms}}, "frozen reclaimed"},
		{"a wake within 5 ms", LadderInput{Costs: wordpress, Objective: Objective{Wake: 5 * ms}}, "frozen"},
		{"no memory left", LadderInput{Costs: wordpress, Pressure: 50}, "reclaimed checkpointed cold"},
	} {
		if got := tiersOf(Ladder(c.in)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestLadderObeysTheSpec(t *testing.T) {
	spec := []Rung{{Tier: detect.TierFrozen, After: 10 * time.Second}, {Tier: detect.TierReclaimed, After: time.Minute}, {Tier: detect.TierCheckpointed, After: 5 * time.Minute}, {Tier: detect.TierCold, After: time.Hour}}
	got := Ladder(LadderInput{Costs: wordpress, Allowed: spec, Objective: Objective{Cold: 0.01, Wake: ms}})
	if len(got.Rungs) != len(spec) {
		t.Fatalf("%v", got)
	}
	for i, r := range got.Rungs {
		if r.Tier != spec[i].Tier || r.After != spec[i].After || r.Reason != "as the spec says" {
			t.Errorf("rung %+v, the spec has %+v", r, spec[i])
		}
	}
	// Times for some only: the others fit themselves in.
	got = Ladder(LadderInput{Costs: wordpress, Allowed: []Rung{{Tier: detect.TierFrozen}, {Tier: detect.TierCheckpointed, After: time.Minute}, {Tier: detect.TierCold}}})
	if tiersOf(got) != "frozen checkpointed cold" || got.Rungs[1].After != time.Minute || got.Rungs[2].After <= time.Minute {
		t.Errorf("%v", got)
	}
	if got = Ladder(LadderInput{Costs: wordpress, Idle: 20 * time.Minute}); got.Rungs[0].After < 20*time.Minute {
		t.Errorf("sleeps before its idle time: %v", got)
	}
}

func TestLadderObjective(t *testing.T) {
	// 1 visit a minute; 1 % may find it asleep: noticeable tiers not before ln(100) minutes.
	rate := change.Gamma{Shape: 1000, Seconds: 60_000}
	got := Ladder(LadderInput{Costs: wordpress, Objective: Objective{Cold: 0.01}, Rate: rate})
	limit := IdleTimeoutUnknown(rate, 0.01)
	for _, r := range got.Rungs {
		if r.Tier != detect.TierFrozen && r.After < limit {
			t.Errorf("%s after %v, not before %v", r.Tier, r.After, limit)
		}
	}
	// A rare visitor, who may wait in one of five cases: deep at once, as the pause will be long.
	lenient := Ladder(LadderInput{Costs: wordpress, Objective: Objective{Cold: 0.2, Wake: 500 * ms}, Rate: change.Gamma{Shape: 50, Seconds: 50 * 7200}})
	if tiersOf(lenient) != "frozen reclaimed checkpointed" || lenient.Rungs[1].Reason == "" {
		t.Errorf("%v", lenient)
	}
	steered := Ladder(LadderInput{Costs: wordpress, Objective: Objective{Cold: 0.01}, Rate: rate, Timeout: 2 * time.Hour})
	for _, r := range steered.Rungs {
		if r.Tier != detect.TierFrozen && r.After < 2*time.Hour {
			t.Errorf("the controller says two hours: %v", steered)
		}
	}
	var gaps Gaps
	for range 1000 {
		gaps.Add(90 * time.Minute)
	}
	seen := Ladder(LadderInput{Costs: wordpress, Objective: Objective{Cold: 0.01}, Rate: rate, Gaps: &gaps})
	for _, r := range seen.Rungs {
		if r.Tier != detect.TierFrozen && r.After < 90*time.Minute {
			t.Errorf("each pause lasts 90 minutes: %v", seen)
		}
	}
	if s := seen.String(); !strings.Contains(s, "1 % of the requests") || !strings.Contains(s, "frozen after") {
		t.Errorf("in words: %s", s)
	}
	if s := (Choice{}).String(); s != "stays awake" {
		t.Errorf("in words: %s", s)
	}
}

// Few wakes say little: a tier that was quick three times may still take longer than
// the objective.
func TestLadderDoubtsFewWakes(t *testing.T) {
	costs := []TierCost{{Tier: detect.TierCold, Median: 300 * ms, P99: 320 * ms, Samples: 3}}
	in := LadderInput{Costs: costs, Objective: Objective{Wake: 400 * ms}, Allowed: []Rung{{Tier: detect.TierCold}}}
	if got := Ladder(in); len(got.Rungs) != 0 || len(got.Unused) != 1 {
		t.Errorf("%v", got)
	}
	in.Costs[0].Samples = 500
	if got := Ladder(in); tiersOf(got) != "cold" {
		t.Errorf("%v", got)
	}
}

// Whatever the costs: rungs in the order of depth and time, only allowed ones, each
// with a reason, none with a wake longer than the objective; and dearer memory never means
// to sleep later.
func FuzzLadder(f *testing.F) {
	f.Add(uint64(1), 0.01, int64(500*ms), 1.0, uint8(0xff))
	f.Add(uint64(9), math.NaN(), int64(-1), math.Inf(1), uint8(0b10101))
	f.Fuzz(func(t *testing.T, seed uint64, cold float64, wake int64, pressure float64, allowed uint8) {
		rnd := rand.New(rand.NewPCG(seed, 4))
		in := LadderInput{Objective: Objective{Cold: cold, Wake: time.Duration(wake)}, Pressure: pressure}
		for _, tier := range append([]detect.Tier{detect.TierRunning}, detect.Tiers[:]...) {
			if rnd.IntN(3) > 0 {
				median := time.Duration(rnd.ExpFloat64() * 3e8)
				in.Costs = append(in.Costs, TierCost{
					Tier: tier, Median: median, P99: median * time.Duration(1+rnd.IntN(4)), Samples: rnd.IntN(200),
					Memory: rnd.ExpFloat64() * 1e8, Disk: rnd.ExpFloat64() * 1e8, CPU: rnd.ExpFloat64() / 100, HeldKnown: rnd.IntN(2) == 0,
				})
			}
		}
		in.Allowed = []Rung{}
		for i, tier := range detect.Tiers {
			if allowed&(1<<i) != 0 {
				in.Allowed = append(in.Allowed, Rung{Tier: tier})
			}
		}
		if rnd.IntN(2) == 0 {
			in.Rate = change.Gamma{Shape: rnd.ExpFloat64() * 100, Seconds: rnd.ExpFloat64() * 1e5}
		}
		if rnd.IntN(3) == 0 {
			in.Timeout = time.Duration(rnd.ExpFloat64() * 1e12)
		}
		c := Ladder(in)
		depth, at := -1, time.Duration(0)
		byTier := map[detect.Tier]TierCost{}
		for _, cost := range complete(in.Costs) {
			byTier[cost.Tier] = cost
		}
		for _, r := range c.Rungs {
			if _, ok := in.allows(r.Tier); !ok || r.Reason == "" || r.After < at || depthOf(r.Tier) <= depth {
				t.Fatalf("%+v\n%v", in, c)
			}
			if in.Objective.Wake > 0 && byTier[r.Tier].P99 > in.Objective.Wake {
				t.Fatalf("%s takes %v, %v may be added", r.Tier, byTier[r.Tier].P99, in.Objective.Wake)
			}
			depth, at = depthOf(r.Tier), r.After
		}
		if len(c.Rungs)+len(c.Unused) != len(in.Allowed) {
			t.Fatalf("%d allowed: %+v", len(in.Allowed), c)
		}
	})
}

func depthOf(t detect.Tier) int {
	for i, other := range detect.Tiers {
		if t == other {
			return i
		}
	}
	return -1
}

// Without an objective, dearer memory never holds more of it at any idle time.
func TestLadderUnderPressureHoldsLess(t *testing.T) {
	for _, costs := range [][]TierCost{nil, wordpress, small} {
		held := func(c Choice, idle time.Duration) float64 {
			byTier := map[detect.Tier]TierCost{}
			for _, cost := range complete(costs) {
				byTier[cost.Tier] = cost
			}
			now := byTier[detect.TierRunning].Memory
			for _, r := range c.Rungs {
				if r.After <= idle {
					now = byTier[r.Tier].Memory
				}
			}
			return now
		}
		before := Ladder(LadderInput{Costs: costs})
		for pressure := 1.5; pressure < 1000; pressure *= 1.5 {
			now := Ladder(LadderInput{Costs: costs, Pressure: pressure})
			for idle := time.Second; idle < 1000*time.Hour; idle = idle * 5 / 4 {
				if held(now, idle) > held(before, idle)+1 {
					t.Fatalf("pressure %v: after %v %v bytes are held, with less pressure %v\n%v\n%v", pressure, idle, held(now, idle), held(before, idle), before, now)
				}
			}
			before = now
		}
	}
}
