package policy

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/detect/sleep"
)

// comes is a site that was visited after these pauses.
func comes(t *testing.T, p *Plans, yaml string, n int, pause func(i int) time.Duration) Input {
	t.Helper()
	in := visitsOf(t, yaml)
	in.Plans = p
	for tier, takes := range map[detect.Tier]time.Duration{
		detect.TierFrozen: time.Millisecond, detect.TierReclaimed: 900 * time.Millisecond, detect.TierCold: 750 * time.Millisecond,
	} {
		x := in.Experience.Tier(tier)
		x.AddWake(takes)
		if tier == detect.TierFrozen {
			x.Memory = 91 << 20
		}
	}
	in.Experience.Tier(detect.TierReclaimed).Memory = 1 << 20
	for i := range n {
		in.Now = in.Now.Add(pause(i))
		p.Visited(in, Visits{Begin: in.Now, End: in.Now, Requests: 1})
	}
	return in
}

// everyThreeHours is by the clock, to a few seconds.
func everyThreeHours(i int) time.Duration { return 3*time.Hour + time.Duration(i%5)*time.Second }

// TestRise: who comes by the clock finds the site awake, and it sleeps deep until shortly before; the ladder is the way down on which
// the site is then.
func TestRise(t *testing.T) {
	p := openPlans(t, t.TempDir(), "")
	in := comes(t, p, "tiers: [frozen, cold]", 200, everyThreeHours)
	r, ok := p.Rise(in, 0)
	if !ok || r.Tier != detect.TierFrozen || r.After < 2*time.Hour || r.After >= 3*time.Hour || r.Until <= 3*time.Hour || r.Until > 5*time.Hour {
		t.Fatalf("it is woken %+v (%v)", r, ok)
	}
	if again, ok := p.Rise(in, 3*time.Hour); !ok || again != r {
		t.Errorf("in the middle of it: %+v (%v)", again, ok)
	}
	if again, ok := p.Rise(in, r.Until); ok {
		t.Errorf("nobody came, and it is woken once more: %+v", again)
	}
	if got := in.Choose().Rungs; len(got) != 1 || got[0].Tier != detect.TierCold || got[0].After > time.Minute {
		t.Errorf("when its visitor has left it goes down %+v", got)
	}
	last := in.Now
	in.Now = last.Add(r.After)
	got := in.Choose().Rungs
	if len(got) != 2 || got[0].Tier != detect.TierFrozen || got[0].After < r.After || got[0].After > r.After+time.Second || got[1].Tier != detect.TierCold || got[1].After < r.Until {
		t.Errorf("when it was woken it goes down %+v, woken %+v", got, r)
	}
	if w := p.Why(Asked{Input: in, Tier: detect.TierCold, Idle: time.Hour}); w.Rise == nil || *w.Rise != r {
		t.Errorf("why says %+v", w.Rise)
	}
}

// TestNoRise: sites are woken ahead only where that has paid, where the configuration lets them, and where it is a wake: who has
// processes is not.
func TestNoRise(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	atRandom := func(int) time.Duration { return time.Duration(rng.ExpFloat64() * float64(3*time.Hour)) }
	for name, c := range map[string]struct {
		config, yaml string
		n            int
		pause        func(int) time.Duration
	}{
		"who comes at random":            {"", "tiers: [frozen, cold]", 200, atRandom},
		"of whom little is known":        {"", "tiers: [frozen, cold]", 1, everyThreeHours},
		"where none may be":              {"wake: {ahead: 0}", "tiers: [frozen, cold]", 200, everyThreeHours},
		"who sleeps with its processes":  {"", "tiers: [frozen, reclaimed]", 200, everyThreeHours},
		"whose spec says when it sleeps": {"", "tiers: [{tier: frozen, after: 10s}, {tier: cold, after: 1m}]", 200, everyThreeHours},
	} {
		p := openPlans(t, t.TempDir(), c.config)
		in := comes(t, p, c.yaml, c.n, c.pause)
		if r, ok := p.Rise(in, 0); ok {
			t.Errorf("%s: woken ahead %+v", name, r)
		}
		rungs := in.Choose().Rungs
		for i := 1; i < len(rungs); i++ {
			if rungs[i].Tier.Depth() <= rungs[i-1].Tier.Depth() || rungs[i].After <= rungs[i-1].After {
				t.Errorf("%s: a ladder that goes up: %+v", name, rungs)
			}
		}
		if name == "who sleeps with its processes" {
			var plans sleep.Plans
			p.planner.Down = false
			p.use(in)
			if p.planner.Plan(in.Experience.State, &plans); plans.Follow().Rule != sleep.TwoWay {
				t.Error("no plan would go up for it: this tests nothing")
			}
		}
	}
}
