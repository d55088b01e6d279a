package model

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/detect/sleep"
)

func classOptions() []sleep.Option {
	const ms = time.Millisecond
	return []sleep.Option{
		{Tier: detect.TierRunning, Memory: 1 << 30},
		{Tier: detect.TierReclaimed, Memory: 1 << 28, Wake: 30 * ms, Enter: 30 * ms},
		{Tier: detect.TierCheckpointed, Wake: 200 * ms, Enter: 100 * ms, Writes: 1 << 29},
		{Tier: detect.TierCold, Wake: 800 * ms},
	}
}

// byHand is two sites: requests at 10 s (two) and 110 s, and at 20 s.
func byHand() *Fleet {
	m := fleetMaker{f: Fleet{Name: "by hand", Span: 200}}
	m.site(0)
	for _, at := range []float64{10, 10.1, 110, 110.15, 111.5} {
		m.request(at)
	}
	m.site(1)
	m.request(20)
	return m.done()
}

func TestBursts(t *testing.T) {
	f := byHand()
	if len(f.Bursts) != 3 || f.Requests() != 6 || f.Sites != 2 {
		t.Fatalf("%+v", f)
	}
	b := f.Bursts[2]
	if b.At != 110 || b.End != 111.5 || b.Requests != 3 || len(f.Early(&b)) != 1 {
		t.Errorf("%+v, early %v", b, f.Early(&b))
	}
}

// TestBillByHand reckons one pause on paper: checkpointed after 30 s.
func TestBillByHand(t *testing.T) {
	c := NightConfig{Options: classOptions(), Over: 100 * time.Millisecond, Windows: 2}
	r := PlayNights(c, byHand(), FixedTimeout{After: 30, Option: 2})
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-6 {
			t.Errorf("%s: %v, not %v", what, got, want)
		}
	}
	b := r.Sites[0]
	// Cold until 10 s; running to 40.1; checkpointed; running 110 to 111.5, and 30 s more.
	near("memory", b.Memory, 30.1+1.5+30)
	near("late", b.Late, 1) // the second waits 50 ms, the third none
	near("waited", b.Waited, 0.2+0.05)
	near("dumps", b.Dumps, 2)
	near("requests", b.Requests, 5)
	near("wakes", b.Wakes, 2)
	if r.Windows[0].Late != 0 || r.Windows[1].Late != 1 {
		t.Errorf("by time: %+v", r.Windows)
	}
	near("always", r.Always, 2*200)
}

func TestWakingAheadByHand(t *testing.T) {
	c := NightConfig{Options: classOptions(), Over: 100 * time.Millisecond}
	ahead := func(after float64) *NightReport {
		return PlayNights(c, byHand(), moves{{30, 2}, {after, 0}, {150, 2}})
	}
	if b := ahead(90).Sites[0]; b.Late != 0 || b.Waited != 0 || b.Ahead != 1 || math.Abs(b.Memory-(30+9.9+0.1+1.5+30)) > 0.01 {
		t.Errorf("%+v", b)
	}
	// Begun 100 ms before the visitor, it takes 200.
	if b := ahead(99.8).Sites[0]; math.Abs(b.Waited-0.1) > 1e-6 {
		t.Errorf("%+v", b)
	}
}

type moves []Move

func (m moves) Idle(_ int, _, _ float64, n *Night) { n.Moves = append(n.Moves, m...) }
func (moves) Woke(int, float64, float64, Met)      {}

// What the simulator bills a plan is what the planner priced it at.
func TestBillsAreThePlannersCosts(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 62))
	o := classOptions()
	prices := sleep.DefaultPrices
	for range 50 {
		pause := math.Exp(12 * rnd.Float64())
		var p sleep.Planner
		p.Use(o, prices)
		var s sleep.State
		for range 100 {
			s.Pauses.Add(time.Duration(math.Exp(2+8*rnd.Float64()) * 1e9))
		}
		var plans sleep.Plans
		p.Plan(&s, &plans)
		plan := plans.By([]sleep.Rule{sleep.Careful, sleep.OneWay, sleep.TwoWay}[rnd.IntN(3)])
		var m moves
		for _, step := range plan.Steps(nil) {
			m = append(m, Move{step.After.Seconds(), step.Option})
		}
		maker := fleetMaker{f: Fleet{Span: 10 + pause}}
		maker.site(0)
		maker.request(10)
		maker.request(10 + pause)
		r := PlayNights(NightConfig{Options: o, Over: time.Second}, maker.done(), m)
		got, want := r.Sites[0].Cost(prices), p.Cost(plan, time.Duration(pause*1e9))
		// The first wake is billed its CPU, from cold.
		if got -= prices.CPU * 0.8; math.Abs(got-want) > 1e-6*want && len(m) > 0 && pause > 2 {
			t.Fatalf("%s for %.1f s: billed %v, priced %v\n%v", plan.Rule, pause, got, want, m)
		}
	}
}

// small is a fleet that takes no time.
func small() *Fleet { return Hosting("small", 12, 4, 3) }

// Nobody who does not see the future beats who does, and careful rules lie between.
func TestRulesOnASmallFleet(t *testing.T) {
	f, o := small(), classOptions()
	c := NightConfig{Options: o, Over: 100 * time.Millisecond}
	for _, visit := range []float64{60, 600, 6000} {
		p := sleep.DefaultPrices
		p.Visit = visit
		cost := func(r Sleeper) float64 { t := PlayNights(c, f, r).Total(); return t.Cost(p) }
		oracle := cost(&ParkingOracle{Options: o, Prices: p})
		ski := cost(NewSkiRental(o, p))
		planned := cost(NewPlanned(o, p, 0, f.Sites))
		if !(oracle < ski && ski < 2.5*oracle) {
			t.Errorf("V = %v: ski-rental costs %.2f of the oracle", visit, ski/oracle)
		}
		if planned > 1.02*ski {
			t.Errorf("V = %v: plans cost %.2f of ski-rental", visit, planned/ski)
		}
	}
}

func TestSteeringHoldsTheShare(t *testing.T) {
	f := Hosting("steered", 30, 7, 4)
	r := PlayNights(NightConfig{Options: classOptions(), Over: 100 * time.Millisecond}, f, NewPlanned(classOptions(), sleep.DefaultPrices, 0.01, f.Sites))
	if b := r.Total(); b.Late/b.Requests > 0.0105 || b.Late/b.Requests < 0.008 {
		t.Errorf("%.4f of the requests were late", b.Late/b.Requests)
	}
}

// TestBudgetHolds: under a budget that the fleet does not fit into, also with monitors and
// cron jobs, memory stays within it, and plans do not thrash.
func TestBudgetHolds(t *testing.T) {
	f, o := small(), classOptions()
	c := NightConfig{Options: o, Over: 100 * time.Millisecond}
	for _, share := range []float64{0.2, 0.35, 0.7} {
		limit := share * float64(f.Sites)
		greedy := PlayBudget(c, f, &GreedyDual{Options: o, To: 2}, limit)
		for name, k := range map[string]Keeper{"LRU": LRU{Options: o}, "plans": NewPlannedKeeper(o, sleep.DefaultPrices, f.Sites)} {
			r := PlayBudget(c, f, k, limit)
			if r.Peak > limit*(1+1e-9) || r.Requests != float64(f.Requests()) {
				t.Errorf("%s: %.2f of %.2f GiB, %v of %d requests", name, r.Peak, limit, r.Requests, f.Requests())
			}
			if name == "plans" && r.MeanWait() > greedy.MeanWait() {
				t.Errorf("%.0f %%: plans wait %v, greedy-dual %v", 100*share, r.MeanWait(), greedy.MeanWait())
			}
			if perWake := float64(r.Evicted) / r.Wakes; perWake > 2 {
				t.Errorf("%s: %.1f evictions a wake", name, perWake)
			}
		}
	}
}

func TestReadMinutes(t *testing.T) {
	in := "# a comment\n0:3 15:1\na b c timer 1 2 | 1:1 61:2\n\n"
	p, err := ReadMinutes(strings.NewReader(in))
	if err != nil || len(p) != 2 || p[0].Total() != 4 || p[1].App != "b" || p[1].Trigger != "timer" || p[1].Minutes[1] != (MinuteCount{61, 2}) {
		t.Errorf("%+v, %v", p, err)
	}
	for _, bad := range []string{"1", "1:x", "-1:2", "5:1 4:1", "5:1 5:1", "x y |1:-1"} {
		if _, err := ReadMinutes(strings.NewReader("0:1\n" + bad)); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := ReadNumbers(strings.NewReader("1\nx\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Error(err)
	}
}

func FuzzReadMinutes(f *testing.F) {
	f.Add("0:3 15:1\na b c timer 1 2 | 1:1 61:2\n")
	f.Fuzz(func(t *testing.T, in string) {
		p, err := ReadMinutes(strings.NewReader(in))
		if err != nil {
			return
		}
		for i := range p {
			if p[i].Total() < 0 && len(p[i].Minutes) == 0 {
				t.Fatal("a total of nothing")
			}
		}
	})
}

func TestFleetsOfPatterns(t *testing.T) {
	patterns := []Pattern{
		{Minutes: []MinuteCount{{0, 1}, {60, 1}}},
		{Minutes: []MinuteCount{{5, 40}, {6, 100_000}}},
	}
	f := PatternFleet("two", patterns, 120, 1)
	if f.Requests() != 100_042 || f.Sites != 2 {
		t.Errorf("%d requests to %d sites", f.Requests(), f.Sites)
	}
	last := 0.0
	for i, b := range f.Bursts {
		if b.At < last || b.End < b.At || b.End > f.Span {
			t.Errorf("burst %d: %+v", i, b)
		}
		last = b.At
	}
	pop := PopularFleet("popular", patterns, []int{2, 2, 2, 100_000}, 100, 120, 1)
	busy := 0
	for _, k := range pop.Kind {
		busy += int(k)
	}
	if busy < 20 || busy > 60 { // of two patterns, both are near
		t.Errorf("%d of 100 sites are the busy pattern", busy)
	}
}

func TestThinnedFleetIsReproducible(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 63))
	seconds := make([]int, 86400)
	for i := range seconds {
		seconds[i] = rnd.IntN(3)
	}
	a, b := ThinnedFleet("a", seconds, 5, 1, 2, 9), ThinnedFleet("b", seconds, 5, 1, 2, 9)
	if a.Requests() == 0 || a.Requests() != b.Requests() || len(a.Bursts) != len(b.Bursts) {
		t.Errorf("%d and %d requests", a.Requests(), b.Requests())
	}
}
