package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/detect/change"
	"github.com/fcnode/fcnode/detect/model"
	openloop "github.com/fcnode/fcnode/tests/load"
)

// The site of the comparison of rules: 20 ms of CPU a request, 20 requests a second
// (0.4 cores), one core a replica, five connections a replica at most.
const (
	paperBase   = 20.0
	paperWork   = 20 * time.Millisecond
	paperStart  = 100 * time.Millisecond
	paperTarget = 5
	paperMost   = 15
	paperLearn  = 5 * time.Minute
	paperGoal   = 200 * time.Millisecond
)

// paperLoad is a load that changes; change is when, and length how long it is played.
type paperLoad struct {
	name           string
	shape          openloop.Shape
	change, length time.Duration
}

// paperLoads changes each at a moment of its own, so that no rule's ticks fall on it.
func paperLoads(phase time.Duration) []paperLoad {
	at := paperLearn + phase
	step := func(ratio float64) openloop.Shape { return openloop.Step(paperBase, ratio*paperBase, at) }
	const crowd = 10 * time.Minute
	evening := openloop.FlashCrowd(paperBase, crowd)
	rises := time.Duration(0)
	for evening(rises) < 1.25*paperBase {
		rises += time.Second
	}
	return []paperLoad{
		{"step, x 2", step(2), at, at + 2*time.Minute},
		{"step, x 4", step(4), at, at + 2*time.Minute},
		{"step, x 16", step(16), at, at + 2*time.Minute},
		{"ramp, x 8 in a minute", openloop.Ramp(paperBase, 8*paperBase, at, at+time.Minute), at, at + 3*time.Minute},
		{"flash crowd, x 10 (an evening of the World Cup in 10 minutes)", func(t time.Duration) float64 {
			if t < at {
				return paperBase
			}
			return evening(t - at)
		}, at + rises, at + crowd},
	}
}

// paperRules are made anew for each run.
var paperRules = []struct {
	name string
	make func() model.Rule
}{
	{"fixed size", func() model.Rule { return model.Fixed{} }},
	{"fcnode", func() model.Rule { return paperScaler(4) }},
	{"fcnode, replicas only", func() model.Rule { return paperScaler(1) }},
	{"KPA-like", func() model.Rule { return &model.KPA{Rule: model.KnativeRule{Target: paperTarget, Max: paperMost}} }},
	{"15 s, 3 min average", func() model.Rule {
		return &model.Averages{Rule: model.AverageRule{Target: paperTarget, Max: paperMost}}
	}},
}

func paperScaler(cores float64) model.Rule {
	return &model.Fcnode{
		Scaler: detect.NewScaler(detect.Targets{Conns: paperTarget}, detect.ActionCosts{Out: paperStart, In: 20 * time.Millisecond}),
		Limit:  detect.Limit{Min: 1, Max: cores}, Max: paperMost,
	}
}

// benchDetect compares rules on paper: the same arrivals and the same dice for all.
func benchDetect(ctx context.Context, o options, r *report) error {
	r.printf("## Detecting load and acting on it, on paper\n\nA model of one site (package detect/model), since only there all rules can get the same arrivals: "+
		"%v of CPU a request, %.0f requests/s (Poisson) that change, %v until a new replica serves, %d connections a replica as the target, at most %d replicas. "+
		"A replica has 1 core; `fcnode` may raise that to 4 in place. %d runs each, the change at another moment of the rules' ticks in each. "+
		"fcnode's rule is asked by the kernel's triggers (integer CUSUM, connections a replica) and once a second; "+
		"`KPA-like` looks every 2 s at 6 s and 60 s; the last one collects every 15 s and looks at 3 minutes.\n\n", paperWork, paperBase, paperStart, paperTarget, paperMost, o.runs)
	for i := range paperLoads(0) {
		if err := ctx.Err(); err != nil {
			return err
		}
		paperTable(r, i, o.runs)
	}
	cusumTable(r, o.runs)
	if o.traces == "" {
		r.printf("Traces of real sites were not given (`-traces`), so there are no figures on them.\n\n")
		return nil
	}
	return traceTables(r, o.traces)
}

// paperTable plays one load by all rules.
func paperTable(r *report, which, runs int) {
	r.printf("### %s\n\nAll since the change; medians of the runs, and the p95 of the delays. `never`: what there was sufficed, or nothing was noticed.\n\n", paperLoads(0)[which].name)
	r.printf("| rule | decided | | serves | over %v | p99 | actions | replicas | cores |\n|---|---|---|---|---|---|---|---|---|\n", paperGoal)
	decided := map[string]time.Duration{}
	for _, rule := range paperRules {
		var told, served, p99 series
		var over, actions, replicas, cores []float64
		for seed := range uint64(runs) {
			phase := time.Duration(rand.New(rand.NewPCG(seed, 21)).Int64N(int64(15 * time.Second)))
			l := paperLoads(phase)[which]
			out := model.Run(model.Config{
				Work: paperWork, CPU: 1, Start: paperStart, Replicas: 1, Write: time.Millisecond,
				Objective: paperGoal, Change: l.change, Seed: seed,
			}, rule.make(), openloop.Poisson(l.shape, l.length, seed))
			told, served = append(told, never(out.Decided)), append(served, never(out.Served))
			p99, over = append(p99, out.P99), append(over, 100*out.Over)
			actions, replicas, cores = append(actions, float64(out.Actions)), append(replicas, out.Replicas), append(cores, out.Cores)
		}
		decided[rule.name] = told.median()
		r.printf("| %s | %s | %s | %s | %.2f %% | %s | %.0f | %.1f | %.1f |\n", rule.name, showNever(told.median()), showNever(told.quantile(0.95)),
			showNever(served.median()), medianOf(over), show(p99.median()), medianOf(actions), medianOf(replicas), medianOf(cores))
	}
	r.printf("\n")
}

// notDecided stands for what did not happen, beyond all that did.
const notDecided = 24 * time.Hour

func never(d time.Duration) time.Duration {
	if d < 0 {
		return notDecided
	}
	return d
}

func showNever(d time.Duration) string {
	if d >= notDecided {
		return "never"
	}
	return show(d)
}

// cusumTable is the kernel's change detection alone.
func cusumTable(r *report, runs int) {
	base := change.Baseline{Lambda: paperBase, Phi: 1}
	params := base.Params()
	r.printf("### The kernel's CUSUM alone\n\n%.0f connections/s that become more; at most one false alarm in %.0e connections. From the change to the alarm:\n\n| change | median | p95 | theory (mean) |\n|---|---|---|---|\n", paperBase, change.DefaultARL0)
	for _, ratio := range []float64{2, 4, 16, 50} {
		var delays series
		for seed := range uint64(10 * runs) {
			var state change.CusumState
			const change = time.Minute
			for at := range openloop.Poisson(openloop.Step(paperBase, ratio*paperBase, change), 2*change, seed) {
				if state.Arrival(&params, 1<<50+uint64(at)) != 0 && at >= change {
					delays = append(delays, at-change)
					break
				}
			}
		}
		slices.Sort(delays)
		r.printf("| x %.0f | %s | %s | %s |\n", ratio, show(delays.median()), show(delays.quantile(0.95)), show(base.Delay(ratio)))
	}
	r.printf("\n")
}
