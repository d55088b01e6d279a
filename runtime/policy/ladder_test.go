package policy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/detect/sleep"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/file"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

func TestDueIn(t *testing.T) {
	ladder := []site.Rung{{Tier: detect.TierFrozen, After: 10 * time.Second}, {Tier: detect.TierCold, After: time.Hour}}
	for _, c := range []struct {
		name     string
		at       detect.Tier
		idle     time.Duration
		min, max time.Duration
		none     bool
	}{
		{"busy a moment ago", detect.TierRunning, time.Second, 9 * time.Second, 9 * time.Second, false},
		{"overdue: soon, not all at once", detect.TierRunning, time.Minute, 0, 10 * time.Second, false},
		{"on a rung, waits for the next", detect.TierFrozen, time.Minute, 59 * time.Minute, 59 * time.Minute, false},
		{"long overdue", detect.TierFrozen, 5 * time.Hour, 0, Every, false},
		{"on a tier that the ladder does not have any more", detect.TierReclaimed, 30 * time.Minute, 30 * time.Minute, 30 * time.Minute, false},
		{"at the end", detect.TierCold, 5 * time.Hour, 0, 0, true},
	} {
		after, ok := Due(ladder, c.at, c.idle)
		if ok == c.none || after < c.min || after > c.max {
			t.Errorf("%s: %s, %v", c.name, after, ok)
		}
	}
}

// TestGivenUpForAWhile: a tier that was given up is on the ladder again when its time has
// passed, which newLadders finds out.
func TestGivenUpForAWhile(t *testing.T) {
	x, now := NewExperience(), time.Now()
	in := Input{
		Spec: parseSite(t, "idle: 1s, tiers: [frozen, {tier: checkpointed, after: 10s}]"), Experience: x,
		Can: func(detect.Tier) error { return nil }, Pressure: 1,
	}
	has := func(at time.Time) bool {
		in.Now = at
		for _, r := range in.Choose().Rungs {
			if r.Tier == detect.TierCheckpointed {
				return true
			}
		}
		return false
	}
	x.Tier(detect.TierCheckpointed).GiveUp(now, "it could not be dumped")
	if has(now) || !has(now.Add(giveUpMin)) {
		t.Errorf("right after the failure it is on the ladder: %v; a minute later: %v", has(now), has(now.Add(giveUpMin)))
	}
}

// TestCRIUIsWaitedFor: until it is known the tier may be hoped for, and who needs it waits.
func TestCRIUIsWaitedFor(t *testing.T) {
	c := NewCRIU()
	if err := c.Err(); err != nil {
		t.Errorf("not known yet: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	called := errors.New("called back")
	cancel(called)
	if err := c.Wait(ctx); !errors.Is(err, called) {
		t.Errorf("waiting in vain: %v", err)
	}
	none := errors.New("there is none")
	waited := make(chan error)
	go func() { waited <- c.Wait(t.Context()) }()
	c.Found(none)
	if err := <-waited; !errors.Is(err, none) {
		t.Errorf("it waited, and got %v", err)
	}
}

// BenchmarkLadder is what looking at one site's ladder costs, once every ladderEvery.
func BenchmarkLadder(b *testing.B) {
	x := NewExperience()
	for range wakesKept {
		x.Tier(detect.TierFrozen).AddWake(time.Millisecond)
		x.Tier(detect.TierCold).AddWake(time.Second)
		x.Tier(detect.TierCheckpointed).AddWake(100 * time.Millisecond)
	}
	in := Input{Spec: parseSite(b, "idle: auto"), Plans: openPlans(b, b.TempDir(), ""), Experience: x, Can: func(detect.Tier) error { return nil }, Now: time.Now(), Pressure: 2}
	for b.Loop() {
		in.Choose()
	}
}

func parseSite(t testing.TB, more string) *spec.Site {
	t.Helper()
	sites, err := spec.Parse("test", strings.NewReader("{name: a, image: 'dir:/a', ports: [80/tcp], "+more+"}"))
	if err != nil {
		t.Fatal(err)
	}
	return &sites[0]
}

// told puts a choice into words.
func told(c sleep.Choice) string {
	var rungs []string
	for _, r := range c.Rungs {
		rungs = append(rungs, fmt.Sprintf("%s %s", r.Tier, r.After))
	}
	var unused []string
	for _, r := range c.Unused {
		unused = append(unused, string(r.Tier))
	}
	return strings.Join(rungs, ", ") + "; not " + strings.Join(unused, ", ")
}

func TestLadderOfAList(t *testing.T) {
	lacks := func(tiers ...detect.Tier) func(detect.Tier) error {
		return func(t detect.Tier) error {
			for _, lack := range tiers {
				if lack == t {
					return errors.New("this machine cannot")
				}
			}
			return nil
		}
	}
	for _, c := range []struct {
		name, spec string
		lacks      []detect.Tier
		want       string
	}{
		{"all times given", "tiers: [{tier: frozen, after: 10s}, {tier: reclaimed, after: 1m}, {tier: cold, after: 1h}]", nil,
			"frozen 10s, reclaimed 1m0s, cold 1h0m0s; not "},
		{"the first at its idle time", "idle: 1s, tiers: [frozen]", nil, "frozen 1s; not "},
		{"cold at its idle time", "idle: 1s, tiers: [cold]", nil, "cold 1s; not "},
		{"no image can be made: cold in its place", "tiers: [{tier: frozen, after: 10s}, {tier: checkpointed, after: 1m}]", nil,
			"frozen 10s, checkpointed 1m0s, cold 1m0s; not "},
		{"no CRIU", "tiers: [{tier: frozen, after: 10s}, {tier: checkpointed, after: 1m}]", []detect.Tier{detect.TierCheckpointed},
			"frozen 10s, cold 1m0s; not checkpointed"},
		{"nothing but CRIU, and none", "idle: 2s, tiers: [checkpointed]", []detect.Tier{detect.TierCheckpointed},
			"cold 2s; not checkpointed"},
		{"no memory controller", "idle: 3s, tiers: [reclaimed]", []detect.Tier{detect.TierReclaimed}, "frozen 3s; not reclaimed"},
		{"no memory controller, frozen anyway", "tiers: [{tier: frozen, after: 3s}, {tier: reclaimed, after: 1m}]", []detect.Tier{detect.TierReclaimed},
			"frozen 3s; not reclaimed"},
		{"nothing that can be done", "idle: 4s, tiers: [prepared]", []detect.Tier{detect.TierPrepared}, "cold 4s; not prepared"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := Input{Spec: parseSite(t, c.spec), Experience: NewExperience(), Can: lacks(c.lacks...), Now: time.Now(), Pressure: 1}
			if got := told(in.Choose()); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestLadderByAPlan: a site of which nothing is known goes down within seconds, and no tier that the objective
// excludes or that is no use is a rung; an idle time of the spec's is waited for.
func TestLadderByAPlan(t *testing.T) {
	choose := func(yaml string, x *Experience) sleep.Choice {
		t.Helper()
		in := planned(t, yaml)
		if x != nil {
			in.Experience = x
		}
		c := in.Choose()
		for i, r := range c.Rungs {
			if i > 0 && (r.After <= c.Rungs[i-1].After && r.Reason != "if no image can be made" || r.Tier.Depth() <= c.Rungs[i-1].Tier.Depth()) {
				t.Errorf("%s: rungs that do not go down: %s", yaml, c)
			}
			if r.After != r.After.Truncate(100*time.Millisecond) {
				t.Errorf("%s: a time that nobody can read: %s", yaml, c)
			}
		}
		return c
	}
	for yaml, want := range map[string]time.Duration{
		"": Linger, "idle: auto": Linger, "idle: 10s": 10 * time.Second, "idle: 1s": time.Second, "idle: 17m": 17 * time.Minute,
		"tiers: [frozen, reclaimed, cold]": Linger, "class: nobodys": Linger,
	} {
		if c := choose(yaml, nil); len(c.Rungs) < 2 || want < time.Minute && c.Rungs[0].Tier != detect.TierFrozen || c.Rungs[0].After != want {
			t.Errorf("%q: %s", yaml, c)
		}
	}
	if c := choose("tiers: [cold]", nil); len(c.Rungs) != 1 || c.Rungs[0].After < 10*time.Second || c.Rungs[0].After > time.Hour {
		t.Errorf("nothing but cold: %s", c)
	}
	if c := choose("tiers: [frozen, checkpointed]", nil); len(c.Rungs) != 3 || c.Rungs[1].Tier != detect.TierCheckpointed || c.Rungs[2].Tier != detect.TierCold {
		t.Errorf("an image at last: %s", c)
	}
	has := func(c sleep.Choice, tier detect.Tier) string {
		for _, r := range c.Rungs {
			if r.Tier == tier {
				return "a rung: " + r.Reason
			}
		}
		for _, r := range c.Unused {
			if r.Tier == tier {
				return "none: " + r.Reason
			}
		}
		return "nothing is said"
	}
	// A site whose cold start is quick has no use for a checkpoint that is slow, and is cold within half a minute.
	quick := NewExperience()
	for range wakesKept {
		quick.Tier(detect.TierCold).AddWake(8 * time.Millisecond)
		quick.Tier(detect.TierCheckpointed).AddWake(400 * time.Millisecond)
	}
	c := choose("", quick)
	if is := has(c, detect.TierCheckpointed); is != "none: other tiers cost less at every moment of the pauses that are expected" {
		t.Errorf("a slow checkpoint is %s", is)
	}
	if last := c.Rungs[len(c.Rungs)-1]; last.Tier != detect.TierCold || last.After > 30*time.Second {
		t.Errorf("a quick start: %s", c)
	}
	slow := NewExperience()
	for range wakesKept {
		slow.Tier(detect.TierCold).AddWake(5 * time.Second)
	}
	if is := has(choose("objective: {wake: 500ms}", slow), detect.TierCold); is != "none: a wake may take longer than the 500ms that may be added" {
		t.Errorf("a start of 5 s is %s", is)
	}
}

func TestATierIsGivenUpAndTriedAgain(t *testing.T) {
	can := func(detect.Tier) error { return nil }
	now := time.Now()
	s := parseSite(t, "tiers: [{tier: frozen, after: 10s}, {tier: checkpointed, after: 1m}, {tier: cold, after: 1h}]")
	x := NewExperience()
	for i, wait := range []time.Duration{giveUpMin, 2 * giveUpMin, 4 * giveUpMin} {
		x.Tier(detect.TierCheckpointed).GiveUp(now, "a socket that cannot be dumped")
		for _, c := range []struct {
			at   time.Time
			want string
		}{
			{now.Add(wait - 1), "frozen 10s, cold 1h0m0s; not checkpointed"},
			{now.Add(wait), "frozen 10s, checkpointed 1m0s, cold 1h0m0s; not "},
		} {
			got := Input{Spec: s, Experience: x, Can: can, Now: c.at, Pressure: 1}.Choose()
			if told(got) != c.want {
				t.Errorf("failure %d, %s later: %s, want %s", i+1, c.at.Sub(now), told(got), c.want)
			}
		}
	}
	for range 100 {
		x.Tier(detect.TierCheckpointed).GiveUp(now, "x")
	}
	if wait := x.Tier(detect.TierCheckpointed).Until.Sub(now); wait != giveUpMax {
		t.Errorf("after a hundred failures it is given up for %s", wait)
	}
	x.Tier(detect.TierCheckpointed).Worked()
	if got := (Input{Spec: s, Experience: x, Can: can, Now: now, Pressure: 1}).Choose(); len(got.Unused) > 0 {
		t.Errorf("after it worked: %s", told(got))
	}
}

func TestAdded(t *testing.T) {
	ms := func(n int) event.Nanoseconds { return event.Nanoseconds(time.Duration(n) * time.Millisecond) }
	thaw := []event.Step{{Name: event.StepKnocked}, {Name: event.StepThawed, At: ms(1)}, {Name: event.StepConnected, At: ms(1)}, {Name: event.StepFirstByte, At: ms(62)}}
	for _, c := range []struct {
		name   string
		steps  []event.Step
		answer time.Duration
		want   time.Duration
		ok     bool
	}{
		{"not known how quick it is", thaw, 0, 62 * time.Millisecond, true},
		{"a page takes 60 ms", thaw, 60 * time.Millisecond, 2 * time.Millisecond, true},
		{"quicker than usual", thaw, 80 * time.Millisecond, time.Millisecond, true},
		{"nobody was answered", thaw[:3], 0, time.Millisecond, false},
	} {
		got, ok := Added(event.Trace{Steps: c.steps}, c.answer)
		if got != c.want || ok != c.ok {
			t.Errorf("%s: %s, %v; want %s, %v", c.name, got, ok, c.want, c.ok)
		}
	}
}

func TestExperienceIsKept(t *testing.T) {
	dir := t.TempDir()
	kept := OpenStore(dir, func(f func()) { f() }, func(string, error) {})
	x := NewExperience()
	for i := range 3 * wakesKept {
		x.Tier(detect.TierFrozen).AddWake(time.Duration(i) * time.Millisecond)
	}
	if got := x.Tier(detect.TierFrozen); len(got.Wakes) != wakesKept || got.median() != time.Duration(3*wakesKept-wakesKept/2)*time.Millisecond {
		t.Errorf("the last %d wakes are %v, with the median %s", wakesKept, got.Wakes, got.median())
	}
	for name, text := range map[string]string{"torn": `{"tiers":{"cold":{"wak`, "of nothing": `{"tiers":{"cold":null}}`, "empty": ""} {
		if err := file.Replace(kept.File("a"), []byte(text)); err != nil {
			t.Fatal(err)
		}
		got, err := kept.Load("a")
		if (err == nil) != (name == "of nothing") {
			t.Errorf("a file that is %s: %v", name, err)
		}
		if got.Tiers == nil || got.Tier(detect.TierCold).median() != 0 {
			t.Errorf("a file that is %s gives %+v", name, got)
		}
	}
	if got, err := kept.Load("nobody"); err != nil || got.Tiers == nil {
		t.Error("a site without a file has no experience to add to")
	}
	if left, err := os.ReadDir(dir + "/experience"); err != nil || len(left) != 1 {
		t.Errorf("on disk are %v (%v)", left, err)
	}
}

func TestNodeMemory(t *testing.T) {
	s := parseMemory([]byte("MemTotal:       24684124 kB\nMemFree: 1 kB\nMemAvailable:   12342062 kB\nSwapFree: 512 kB\nHugePages_Total:       0\n"))
	if want := (MemoryState{Total: 24684124 << 10, Available: 12342062 << 10, SwapFree: 512 << 10}); s != want {
		t.Fatalf("read as %+v", s)
	}
	if s.Short(0.5) || !s.Short(0.6) {
		t.Errorf("half of it is available: short of a half: %v, of six tenths: %v", s.Short(0.5), s.Short(0.6))
	}
	if p := s.pressure(0.5); p != 1 {
		t.Errorf("pressure %g with enough", p)
	}
	s.Available = 0
	if p := s.pressure(0.5); p != 10 {
		t.Errorf("pressure %g with nothing", p)
	}
	if s, err := new(Memory).Read(); err != nil || s.Total == 0 {
		t.Errorf("this machine has %+v, %v", s, err)
	}
}

// TestVisitorsSteerTheLadder: of a list in which a tier has no time, wakes that visitors noticed too
// often make the site sleep later, and quiet times sooner; without an objective they change nothing.
func TestVisitorsSteerTheLadder(t *testing.T) {
	cold := func(s *spec.Site, x *Experience) time.Duration {
		in := Input{Spec: s, Experience: x, Can: anyTier, Now: time.Unix(0, 0), Pressure: 1000}
		c := in.Choose()
		if len(c.Rungs) != 2 {
			t.Fatalf("its rungs are %+v", c)
		}
		return c.Rungs[1].After
	}
	steered := parseSite(t, "objective: {cold: 1%}, idle: 1s, tiers: [frozen, cold]")
	plain := parseSite(t, "idle: 1s, tiers: [frozen, cold]")
	x := NewExperience()
	for range 50 {
		x.CountWake(10, 400*time.Millisecond, time.Minute, 0.01) // one in ten
	}
	often := cold(steered, x)
	before := cold(plain, x)
	for range 50 {
		x.CountWake(1000, 400*time.Millisecond, 100*time.Minute, 0.01) // one in a thousand
	}
	if seldom := cold(steered, x); seldom >= often {
		t.Errorf("sleeps after %v when one in ten was cold, and after %v when one in a thousand was", often, seldom)
	}
	if got := cold(plain, x); got != before {
		t.Errorf("without an objective: %v, then %v", before, got)
	}
	x = NewExperience()
	for range 50 {
		x.CountWake(10, time.Millisecond, time.Minute, 0.01)
	}
	if x.Visitors.Asleep != 0 {
		t.Error("a wake of a millisecond counts as cold")
	}
}
