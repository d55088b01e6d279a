// Study replays the requests to fleets of sites through fcnode's rules for sleep and
// through those that they are compared with, says which goals are met, and writes
// docs/efficiency.md. It needs no privileges, and touches nothing but what it writes.
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/detect/model"
	"github.com/fcnode/fcnode/detect/sleep"
)

type options struct {
	traces  string
	write   string // folder of docs; "": nothing is written
	cells   string
	accept  bool
	short   bool
	seed    uint64
	workers int
	draws   int
	half    uint
	fleet   string
	only    string
}

func main() {
	var o options
	flag.StringVar(&o.traces, "traces", cmp.Or(os.Getenv("TRACES"), "../shared/traces"), "folder of recorded traces; without it only fleets that are made are played")
	flag.StringVar(&o.write, "write", "", "folder to write efficiency.md and its plots to")
	flag.StringVar(&o.cells, "cells", "tests/study/cells.json", "figures of before, which may not get worse by over 2 %")
	flag.BoolVar(&o.accept, "accept", false, "make the figures of this run those of before")
	flag.BoolVar(&o.short, "short", false, "small fleets: about a minute, and figures that say little")
	flag.Uint64Var(&o.seed, "seed", 1, "seed of all dice")
	flag.IntVar(&o.workers, "workers", runtime.NumCPU(), "runs at a time")
	flag.IntVar(&o.draws, "draws", 400, "draws of the bootstrap")
	flag.UintVar(&o.half, "half", heldOut, "half of the patterns: 0, which constants were chosen on, or 1, held out")
	flag.StringVar(&o.fleet, "fleet", "", "play only fleets whose name has this")
	flag.StringVar(&o.only, "only", "", "play only this section of the page, and write no other: cascades or season")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "study:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	start := time.Now()
	t, err := readTraces(o.traces)
	if err != nil {
		return err
	}
	if t == nil {
		fmt.Fprintf(os.Stderr, "there are no traces in %s (-traces, TRACES): only the fleet that is made here is played\n", o.traces)
	}
	fleets := slices.DeleteFunc(t.fleets(uint32(o.half), o.short, o.seed), func(f *model.Fleet) bool { return !strings.Contains(f.Name, o.fleet) })
	if o.only != "" {
		return section(o, fleets)
	}
	all := runAll(fleets, o.short, o.workers, func(left int) {
		if left%20 == 0 {
			fmt.Fprintf(os.Stderr, "%4d runs left, %v\n", left, time.Since(start).Round(time.Second))
		}
	})
	draws := map[*study][][]float64{}
	for _, s := range all {
		draws[s] = s.resamples(o.draws, o.seed)
	}
	fmt.Fprintf(os.Stderr, "budgets, %v\n", time.Since(start).Round(time.Second))
	rows := budgets(fleets)
	fmt.Fprintf(os.Stderr, "cascades, %v\n", time.Since(start).Round(time.Second))
	chains := cascades(withChains(fleets, o), o.workers)
	fmt.Fprintf(os.Stderr, "alarms, %v\n", time.Since(start).Round(time.Second))
	alarms := t.alarms(o.short, o.seed)
	goals := append(memoryGoals(all, draws), costGoals(all, draws)...)
	goals = append(goals, shareGoal(all), budgetGoal(rows), costsGoal(all, planCost(), stateSize()))
	if alarms != nil {
		goals = append(goals, alarms.goal())
	}
	sortGoals(goals)
	r := &report{}
	drawn := charts(all, draws)
	r.page(o, all, draws, rows, chains, seasons(fleets, o.workers), alarms, goals, drawn)
	fmt.Print(r.String())
	for i := range drawn {
		fmt.Printf("\n%s", drawn[i].text(90, 20))
	}
	fmt.Printf("\n%d of %d goals missed; %v\n", missed(goals), len(goals), time.Since(start).Round(time.Second))
	if o.write != "" {
		if err := writeDocs(o.write, r, drawn); err != nil {
			return err
		}
	}
	return compareCells(o, cells(all, draws, rows))
}

// section plays one of the page's, and leaves the others as they are.
func section(o options, fleets []*model.Fleet) error {
	r := &report{}
	switch o.only {
	case "cascades":
		r.cascadePart(cascades(withChains(fleets, o), o.workers), o)
	case "season":
		r.seasonPart(seasons(fleets, o.workers), o)
	default:
		return fmt.Errorf("-only %s: that is no section that can be played alone; cascades and season are", o.only)
	}
	fmt.Print(r.String())
	if o.write == "" {
		return nil
	}
	path := filepath.Join(o.write, "efficiency.md")
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	out, err := replaceSection(string(page), r.String())
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, []byte(out), 0o644)
}

// replaceSection puts a section, which begins with its heading, in the place of the one of that name.
func replaceSection(page, section string) (string, error) {
	heading, _, _ := strings.Cut(section, "\n")
	before, rest, found := strings.Cut(page, heading+"\n")
	if !found {
		return "", fmt.Errorf("it has no section %q: play all of the study", heading)
	}
	if i := strings.Index(rest, "\n## "); i >= 0 {
		return before + section + rest[i+1:], nil
	}
	return before + section, nil
}

func writeDocs(folder string, r *report, drawn []chart) error {
	if err := os.WriteFile(filepath.Join(folder, "efficiency.md"), []byte(r.String()), 0o644); err != nil {
		return err
	}
	for i := range drawn {
		if err := os.WriteFile(filepath.Join(folder, plotName(&drawn[i])), []byte(drawn[i].svg()), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// plotName is the file of a fleet's plot.
func plotName(c *chart) string {
	fleet, _, _ := strings.Cut(c.title, ":")
	return "efficiency-" + strings.ReplaceAll(fleet, " ", "-") + ".svg"
}

// planCost is the CPU time of a plan by both rules, in µs.
func planCost() float64 {
	f := model.Hosting("plans", 4, 7, 1)
	p := model.NewPlanned(wordpress(), sleep.DefaultPrices, 0, f.Sites)
	model.PlayNights(config(f), f, p)
	const n = 20_000
	var plans sleep.Plans
	before := cpuTime()
	for i := range n {
		p.Planner.Plan(&p.States()[i%f.Sites], &plans)
	}
	return (cpuTime() - before).Seconds() * 1e6 / n
}

// cpuTime of this process: what else runs on the machine does not count.
func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// cells are the figures that may not get worse: the less, the better.
func cells(all []*study, draws map[*study][][]float64, rows []budgetRow) map[string]float64 {
	out := map[string]float64{}
	for _, s := range all {
		w := draws[s][0]
		memory, _ := s.steered(ruleSteered, 0.01, w)
		for name, v := range map[string]float64{
			"memory, price steered to 1 %": memory,
			"memory, 1 % late":             s.least(rulePlanned, lateShare, 0.01, w),
			"memory, 10 ms":                s.least(rulePlanned, meanWait, 0.010, w),
			"cost at 600 of the oracle's":  s.costRatio(rulePlanned, ruleOracle, 600, draws[s][:1]).value,
		} {
			if !math.IsNaN(v) {
				out[s.fleet.Name+": "+name] = v
			}
		}
	}
	for _, r := range rows {
		out[r.fleet+": mean wait at a budget, s"] = r.ours.MeanWait()
	}
	return out
}

// regression is how much worse a cell may get.
const regression = 1.02

func compareCells(o options, now map[string]float64) error {
	all := map[string]map[string]float64{}
	b, err := os.ReadFile(o.cells)
	if err == nil {
		err = json.Unmarshal(b, &all)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the figures of before from %s: %w", o.cells, err)
	}
	mode := fmt.Sprintf("half %d, seed %d", o.half, o.seed)
	if o.short {
		mode = "short, " + mode
	}
	if o.accept {
		all[mode] = now
		b, err := json.MarshalIndent(all, "", "\t")
		if err != nil {
			return err
		}
		return os.WriteFile(o.cells, append(b, '\n'), 0o644)
	}
	var worse []string
	for name, before := range all[mode] {
		if v, ok := now[name]; ok && v > regression*before {
			worse = append(worse, fmt.Sprintf("%s: %.4f, it was %.4f", name, v, before))
		}
	}
	if len(worse) > 0 {
		return fmt.Errorf("worse than before by over 2 %%:\n  %s\n(if that is wanted: -accept)", strings.Join(worse, "\n  "))
	}
	return nil
}
