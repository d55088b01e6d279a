package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/detect/sleep"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

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
	lacks := func(tiers ...site.Tier) func(site.Tier, bool) error {
		return func(t site.Tier, asked bool) error {
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
		lacks      []site.Tier
		want       string
	}{
		{"all times given", "tiers: [{tier: frozen, after: 10s}, {tier: reclaimed, after: 1m}, {tier: cold, after: 1h}]", nil,
			"frozen 10s, reclaimed 1m0s, cold 1h0m0s; not "},
		{"the first at its idle time", "idle: 1s, tiers: [frozen]", nil, "frozen 1s; not "},
		{"cold at its idle time", "idle: 1s, tiers: [cold]", nil, "cold 1s; not "},
		{"no image can be made: cold in its place", "tiers: [{tier: frozen, after: 10s}, {tier: checkpointed, after: 1m}]", nil,
			"frozen 10s, checkpointed 1m0s, cold 1m0s; not "},
		{"no CRIU", "tiers: [{tier: frozen, after: 10s}, {tier: checkpointed, after: 1m}]", []site.Tier{site.TierCheckpointed},
			"frozen 10s, cold 1m0s; not checkpointed"},
		{"nothing but CRIU, and none", "idle: 2s, tiers: [checkpointed]", []site.Tier{site.TierCheckpointed},
			"cold 2s; not checkpointed"},
		{"no memory controller", "idle: 3s, tiers: [reclaimed]", []site.Tier{site.TierReclaimed}, "frozen 3s; not reclaimed"},
		{"no memory controller, frozen anyway", "tiers: [{tier: frozen, after: 3s}, {tier: reclaimed, after: 1m}]", []site.Tier{site.TierReclaimed},
			"frozen 3s; not reclaimed"},
		{"nothing that can be done", "idle: 4s, tiers: [prepared]", []site.Tier{site.TierPrepared}, "cold 4s; not prepared"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := ladderInput{spec: parseSite(t, c.spec), experience: newExperience(), can: lacks(c.lacks...), now: time.Now(), pressure: 1}
			if got := told(in.choose()); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestLadderByTheNode(t *testing.T) {
	can := func(site.Tier, bool) error { return nil }
	now := time.Now()
	s := parseSite(t, "idle: 10s")
	fresh := ladderInput{spec: s, experience: newExperience(), can: can, now: now, pressure: 1}.choose()
	if len(fresh.Rungs) < 2 || fresh.Rungs[0].Tier != detect.TierFrozen || fresh.Rungs[0].After < 10*time.Second {
		t.Errorf("of a site that nothing is known of: %s", fresh)
	}
	free := ladderInput{spec: parseSite(t, "idle: auto"), experience: newExperience(), can: can, now: now, pressure: 1}.choose()
	if len(free.Rungs) < 2 || free.Rungs[0].After <= 0 || free.Rungs[0].After >= time.Minute {
		t.Errorf("with nothing said about its idle time: %s", free)
	}
	for _, text := range []string{"idle: auto, tiers: [frozen, cold]", "idle: auto, tiers: [cold]"} {
		if c := (ladderInput{spec: parseSite(t, text), experience: newExperience(), can: can, now: now, pressure: 1}).choose(); len(c.Rungs) == 0 || c.Rungs[0].After <= 0 {
			t.Errorf("%s: %s", text, c)
		}
	}
	// A site whose cold start is quick and whose checkpoint is slow has no use for the checkpoint.
	x := newExperience()
	for range wakesKept {
		x.tier(site.TierCold).woke(20 * time.Millisecond)
		x.tier(site.TierCheckpointed).woke(400 * time.Millisecond)
	}
	for _, r := range (ladderInput{spec: s, experience: x, can: can, now: now, pressure: 1}).choose().Rungs {
		if r.Tier == detect.TierCheckpointed {
			t.Errorf("it is to be checkpointed, though that is slower than a cold start: %s", r.Reason)
		}
	}
	// One that is slow to start, and may add little, is not to be cold.
	slow := newExperience()
	for range wakesKept {
		slow.tier(site.TierCold).woke(5 * time.Second)
	}
	bounded := parseSite(t, "idle: 10s, objective: {wake: 500ms}")
	for _, r := range (ladderInput{spec: bounded, experience: slow, can: can, now: now, pressure: 1}).choose().Rungs {
		if r.Tier == detect.TierCold {
			t.Errorf("it is to be cold, though that takes 5 s and 500 ms may be added: %s", r.Reason)
		}
	}
	if never := (ladderInput{spec: parseSite(t, "tiers: [cold]"), experience: newExperience(), can: can, now: now}).choose(); len(never.Rungs) != 1 {
		t.Errorf("a list of one has the rungs %s", never)
	}
}

func TestATierIsGivenUpAndTriedAgain(t *testing.T) {
	can := func(site.Tier, bool) error { return nil }
	now := time.Now()
	s := parseSite(t, "tiers: [{tier: frozen, after: 10s}, {tier: checkpointed, after: 1m}, {tier: cold, after: 1h}]")
	x := newExperience()
	for i, wait := range []time.Duration{giveUpMin, 2 * giveUpMin, 4 * giveUpMin} {
		x.tier(site.TierCheckpointed).failed(now, "a socket that cannot be dumped")
		for _, c := range []struct {
			at   time.Time
			want string
		}{
			{now.Add(wait - 1), "frozen 10s, cold 1h0m0s; not checkpointed"},
			{now.Add(wait), "frozen 10s, checkpointed 1m0s, cold 1h0m0s; not "},
		} {
			got := ladderInput{spec: s, experience: x, can: can, now: c.at, pressure: 1}.choose()
			if told(got) != c.want {
				t.Errorf("failure %d, %s later: %s, want %s", i+1, c.at.Sub(now), told(got), c.want)
			}
		}
	}
	for range 100 {
		x.tier(site.TierCheckpointed).failed(now, "x")
	}
	if wait := x.tier(site.TierCheckpointed).Until.Sub(now); wait != giveUpMax {
		t.Errorf("after a hundred failures it is given up for %s", wait)
	}
	x.tier(site.TierCheckpointed).worked()
	if got := (ladderInput{spec: s, experience: x, can: can, now: now, pressure: 1}).choose(); len(got.Unused) > 0 {
		t.Errorf("after it worked: %s", told(got))
	}
}

func TestAdded(t *testing.T) {
	ms := func(n int) api.Nanoseconds { return api.Nanoseconds(time.Duration(n) * time.Millisecond) }
	thaw := []api.Step{{Name: api.StepKnocked}, {Name: api.StepThawed, At: ms(1)}, {Name: api.StepConnected, At: ms(1)}, {Name: api.StepFirstByte, At: ms(62)}}
	for _, c := range []struct {
		name   string
		steps  []api.Step
		answer time.Duration
		want   time.Duration
		ok     bool
	}{
		{"not known how quick it is", thaw, 0, 62 * time.Millisecond, true},
		{"a page takes 60 ms", thaw, 60 * time.Millisecond, 2 * time.Millisecond, true},
		{"quicker than usual", thaw, 80 * time.Millisecond, time.Millisecond, true},
		{"nobody was answered", thaw[:3], 0, time.Millisecond, false},
	} {
		got, ok := added(api.Trace{Steps: c.steps}, c.answer)
		if got != c.want || ok != c.ok {
			t.Errorf("%s: %s, %v; want %s, %v", c.name, got, ok, c.want, c.ok)
		}
	}
}

func TestExperienceIsKept(t *testing.T) {
	n := &Node{cfg: config.Config{StateDir: t.TempDir()}, log: slog.New(slog.DiscardHandler)}
	n.experiences = newExperiences(n.cfg.StateDir, n.work.Go, n.notKept)
	x := newExperience()
	for i := range 3 * wakesKept {
		x.tier(site.TierFrozen).woke(time.Duration(i) * time.Millisecond)
	}
	if got := x.tier(site.TierFrozen); len(got.Wakes) != wakesKept || got.median() != time.Duration(3*wakesKept-wakesKept/2)*time.Millisecond {
		t.Errorf("the last %d wakes are %v, with the median %s", wakesKept, got.Wakes, got.median())
	}
	for name, text := range map[string]string{"torn": `{"tiers":{"cold":{"wak`, "of nothing": `{"tiers":{"cold":null}}`, "empty": ""} {
		if err := replaceFile(n.experiences.file("a"), []byte(text)); err != nil {
			t.Fatal(err)
		}
		got := n.loadExperience("a")
		if got.Tiers == nil || got.tier(site.TierCold).median() != 0 {
			t.Errorf("a file that is %s gives %+v", name, got)
		}
	}
	if got := n.loadExperience("nobody"); got.Tiers == nil {
		t.Error("a site without a file has no experience to add to")
	}
	if aside, err := os.ReadDir(n.cfg.StateDir + "/quarantine"); err != nil || len(aside) != 2 {
		t.Errorf("of the two damaged files, %v were moved away (%v)", aside, err)
	}
	if got := n.quarantine.counted()[badFile]; got != 2 {
		t.Errorf("%d are counted", got)
	}
}

func TestReclaimable(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name string
		in   reclaimInput
		want uint64
	}{
		{"asked for: all but what is kept", reclaimInput{has: 100 * mib, keep: 10 * mib, asked: true, available: 900 * mib, total: 1000 * mib, below: 0.5}, 90 * mib},
		{"less than is kept", reclaimInput{has: 5 * mib, keep: 10 * mib, asked: true, total: 1000 * mib, below: 0.5}, 0},
		{"the node has enough", reclaimInput{has: 100 * mib, keep: mib, available: 600 * mib, total: 1000 * mib, below: 0.5}, 0},
		{"the node lacks a little", reclaimInput{has: 100 * mib, keep: mib, available: 470 * mib, total: 1000 * mib, below: 0.5}, 30 * mib},
		{"the node lacks much", reclaimInput{has: 100 * mib, keep: mib, available: 10 * mib, total: 1000 * mib, below: 0.5}, 99 * mib},
	} {
		if got := reclaimable(c.in); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestNodeMemory(t *testing.T) {
	available, total := parseMemory([]byte("MemTotal:       24684124 kB\nMemFree: 1 kB\nMemAvailable:   12342062 kB\nHugePages_Total:       0\n"))
	s := memoryState{available: available, total: total}
	if total != 24684124<<10 || available != 12342062<<10 {
		t.Fatalf("%d of %d", available, total)
	}
	if s.short(0.5) || !s.short(0.6) {
		t.Errorf("half of it is available: short of a half: %v, of six tenths: %v", s.short(0.5), s.short(0.6))
	}
	if p := s.pressure(0.5); p != 1 {
		t.Errorf("pressure %g with enough", p)
	}
	s.available = 0
	if p := s.pressure(0.5); p != 10 {
		t.Errorf("pressure %g with nothing", p)
	}
	if s, err := new(nodeMemory).read(); err != nil || s.total == 0 {
		t.Errorf("this machine has %+v, %v", s, err)
	}
}

func TestPreparedMakeRoom(t *testing.T) {
	var s preparedSet
	add := func(memory uint64) (w *waiting, out int) {
		w = &waiting{e: &entry{}, r: &replica{}, memory: memory}
		s.add(w, 3, 100, func(*waiting) { out++ })
		return w, out
	}
	a, _ := add(10)
	for range 2 {
		if _, out := add(10); out > 0 {
			t.Fatalf("%d made room though there was some", out)
		}
	}
	s.remove(a.r)
	if _, out := add(10); out > 0 {
		t.Errorf("%d made room for one who took the place of one that is gone", out)
	}
	if _, out := add(10); out != 1 {
		t.Errorf("%d made room for the fourth", out)
	}
	if _, out := add(95); out != 3 {
		t.Errorf("%d made room for one that holds nearly all the memory", out)
	}
	if got := len(s.sites()); got != 1 {
		t.Errorf("%d wait", got)
	}
}

func TestStartsTakeTurns(t *testing.T) {
	q := newStartQueue(2)
	ctx, cancel := context.WithCancel(t.Context())
	first, err := q.enter(ctx)
	if err != nil {
		t.Fatal(err)
	}
	second, err := q.enter(ctx)
	if err != nil {
		t.Fatal(err)
	}
	came := make(chan func())
	go func() {
		leave, err := q.enter(ctx)
		if err != nil {
			t.Error(err)
		}
		came <- leave
	}()
	first()
	first() // twice is fine, and frees one turn only
	third := <-came
	cancel()
	if _, err := q.enter(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("with two under way a third got its turn: %v", err)
	}
	second()
	third()
}
