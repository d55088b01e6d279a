package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/detect/model"
	"github.com/fcnode/fcnode/detect/sleep"
	"github.com/fcnode/fcnode/runtime/policy"
)

const (
	mib  = 1 << 20
	late = 100 * time.Millisecond
)

// wordpress is the class of the study: what a WordPress site costs on each tier, measured
// (docs/performance.md has the tiers, rounded). Its use of the CPU is left out: it must
// be measured before it decides.
func wordpress() []sleep.Option {
	const ms = time.Millisecond
	return []sleep.Option{
		{Tier: detect.TierRunning, Memory: 91 * mib},
		{Tier: detect.TierFrozen, Memory: 91 * mib, Wake: ms},
		{Tier: detect.TierReclaimed, Memory: 27 * mib, Wake: 30 * ms, Enter: 30 * ms},
		{Tier: detect.TierCheckpointed, Disk: 60 * mib, Wake: 200 * ms, Enter: 200 * ms, Writes: 60 * mib},
		{Tier: detect.TierCold, Wake: 750 * ms},
	}
}

// wordpressCosts are the same as the present rule takes them.
func wordpressCosts() (out []sleep.TierCost) {
	for _, o := range wordpress() {
		out = append(out, sleep.TierCost{Tier: o.Tier, Median: o.Wake, P99: o.Wake, Samples: 1000, Memory: o.Memory, Disk: o.Disk, HeldKnown: true})
	}
	return out
}

func prices(visit float64) sleep.Prices {
	p := sleep.DefaultPrices
	p.Visit = visit
	return p
}

// point is what a rule with one setting made of a fleet.
type point struct {
	setting float64
	report  *model.NightReport
}

// curve is a rule with its settings.
type curve struct {
	rule   string
	points []point
}

// Names of the rules.
const (
	ruleFixed   = "fixed timeout"
	ruleHybrid  = "hybrid histogram"
	ruleAuto    = "fcnode before (`auto`)"
	ruleSki     = "ski-rental"
	ruleOracle  = "parking oracle"
	ruleOneWay  = "one-way plans"
	rulePlanned = "fcnode's plans"
	ruleSteered = "fcnode, price steered"
	ruleNode    = "as a node carries it out"
)

// grids are the settings that each rule is tried with in hindsight.
func grids(short bool) map[string][]float64 {
	geometric := func(from, to float64, n int) (out []float64) {
		for i := range n {
			out = append(out, from*math.Pow(to/from, float64(i)/float64(n-1)))
		}
		return out
	}
	n, v := 15, 11
	if short {
		n, v = 8, 5
	}
	return map[string][]float64{
		ruleFixed: geometric(2, 6*3600, n), ruleHybrid: geometric(30, 6*3600, n/2),
		ruleAuto: {0.002, 0.004, 0.007, 0.011, 0.015, 0.02, 0.03, 0.05, 0.1},
		ruleSki:  geometric(2, 20_000, n), ruleOracle: geometric(2, 20_000, n),
		rulePlanned: geometric(3, 10_000, v),
	}
}

var hybridTails = []float64{0.8, 0.9, 0.95, 0.99}

// job is one run of a rule over a fleet.
type job struct {
	rule    string
	setting float64
	run     func(*model.Fleet) *model.NightReport
}

// study is a fleet with all that was run on it.
type study struct {
	fleet  *model.Fleet
	curves map[string]*curve
}

func config(f *model.Fleet) model.NightConfig {
	return model.NightConfig{Options: wordpress(), Over: late, Windows: int(math.Ceil(f.Span / 21600))}
}

// asked are the late shares that the price is steered to; priced the prices at which rules are
// compared by their total cost.
var (
	asked  = []float64{0.05, 0.01, 0.005}
	priced = []float64{60, 600, 6000}
)

func jobs(short bool) (out []job) {
	add := func(rule string, setting float64, make func(f *model.Fleet) model.Sleeper) {
		out = append(out, job{rule, setting, func(f *model.Fleet) *model.NightReport { return model.PlayNights(config(f), f, make(f)) }})
	}
	o := wordpress()
	g := grids(short)
	const checkpointed = 3
	for _, v := range g[ruleFixed] {
		add(ruleFixed, v, func(*model.Fleet) model.Sleeper { return model.FixedTimeout{After: v, Option: checkpointed} })
	}
	for _, tail := range hybridTails {
		for _, v := range g[ruleHybrid] {
			add(fmt.Sprintf("%s, p%g", ruleHybrid, 100*tail), v, func(*model.Fleet) model.Sleeper {
				return &model.Hybrid{Option: checkpointed, Tail: tail, Fallback: v}
			})
		}
	}
	for _, v := range g[ruleAuto] {
		add(ruleAuto, v, func(*model.Fleet) model.Sleeper { return &model.Auto{Costs: wordpressCosts(), Share: v, Options: o} })
	}
	for _, v := range slices.Concat(g[ruleSki], priced) {
		add(ruleSki, v, func(*model.Fleet) model.Sleeper { return model.NewSkiRental(o, prices(v)) })
	}
	for _, v := range slices.Concat(g[ruleOracle], priced) {
		add(ruleOracle, v, func(*model.Fleet) model.Sleeper { return &model.ParkingOracle{Options: o, Prices: prices(v)} })
	}
	for _, v := range slices.Concat(g[rulePlanned], priced) {
		add(rulePlanned, v, func(f *model.Fleet) model.Sleeper { return model.NewPlanned(o, prices(v), 0, f.Sites) })
	}
	one := sleep.OneWay
	for _, v := range priced {
		add(ruleOneWay, v, func(f *model.Fleet) model.Sleeper {
			r := model.NewPlanned(o, prices(v), 0, f.Sites)
			r.Only = &one
			return r
		})
	}
	for _, share := range asked {
		add(ruleSteered, share, func(f *model.Fleet) model.Sleeper {
			return model.NewPlanned(o, sleep.DefaultPrices, share, f.Sites)
		})
	}
	add(ruleNode, 0.01, asTheNode)
	return out
}

// asTheNode is the steered price as runtime/policy uses it with wake.ahead: 0: no site is woken ahead, and each
// stays awake for policy.Linger.
func asTheNode(f *model.Fleet) model.Sleeper {
	r := model.NewPlanned(wordpress(), sleep.DefaultPrices, 0.01, f.Sites)
	r.Planner.Down, r.Planner.Linger = true, policy.Linger
	return r
}

// runAll plays all fleets by all rules, so many at a time.
func runAll(fleets []*model.Fleet, short bool, workers int, done func(left int)) []*study {
	out := make([]*study, len(fleets))
	type task struct {
		s *study
		j job
	}
	var tasks []task
	for i, f := range fleets {
		out[i] = &study{fleet: f, curves: map[string]*curve{}}
		for _, j := range jobs(short) {
			tasks = append(tasks, task{out[i], j})
		}
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	next := 0
	for range workers {
		wg.Go(func() {
			for {
				mu.Lock()
				k := next
				next++
				mu.Unlock()
				if k >= len(tasks) {
					return
				}
				t := tasks[k]
				r := t.j.run(t.s.fleet)
				mu.Lock()
				c := t.s.curves[t.j.rule]
				if c == nil {
					c = &curve{rule: t.j.rule}
					t.s.curves[t.j.rule] = c
				}
				c.points = append(c.points, point{t.j.setting, r})
				done(len(tasks) - k - 1)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, s := range out {
		for _, c := range s.curves {
			slices.SortFunc(c.points, func(a, b point) int { return cmp.Compare(a.setting, b.setting) })
		}
	}
	return out
}

// at is a rule's report with one setting.
func (s *study) at(rule string, setting float64) *model.NightReport {
	for _, p := range s.curves[rule].points {
		if p.setting == setting {
			return p.report
		}
	}
	panic("the study did not run " + rule) // the lists above and the goals disagree
}

// measure is one of the two things that memory is traded for.
type measure func(t *model.Bill) float64

func lateShare(t *model.Bill) float64 { return t.Late / t.Requests }
func meanWait(t *model.Bill) float64  { return t.Waited / t.Requests }

// sums are the totals of every point of a curve, over sites with weights.
type sums struct{ memory, level []float64 }

func (c *curve) sums(m measure, weight []float64) (out sums) {
	for _, p := range c.points {
		var t model.Bill
		var always float64
		for i := range p.report.Sites {
			w := weight[i]
			if w == 0 {
				continue
			}
			b := &p.report.Sites[i]
			t.Memory += w * b.Memory
			t.Requests += w * b.Requests
			t.Late += w * b.Late
			t.Waited += w * b.Waited
			always += w * p.report.Always / float64(len(p.report.Sites))
		}
		out.memory, out.level = append(out.memory, t.Memory/always), append(out.level, m(&t))
	}
	return out
}

// memoryAt is the least memory at which a rule reaches a level, between the settings
// that were tried by a straight line; NaN if it never does.
func (s sums) memoryAt(level float64) float64 {
	best := math.NaN()
	take := func(v float64) {
		if math.IsNaN(best) || v < best {
			best = v
		}
	}
	for i := range s.level {
		if s.level[i] <= level {
			take(s.memory[i])
		}
		if i > 0 && (s.level[i-1] <= level) != (s.level[i] <= level) {
			x := (level - s.level[i-1]) / (s.level[i] - s.level[i-1])
			take(s.memory[i-1] + x*(s.memory[i]-s.memory[i-1]))
		}
	}
	return best
}
