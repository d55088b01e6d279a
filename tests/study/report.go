package main

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/fcnode/fcnode/detect/model"
	"github.com/fcnode/fcnode/detect/sleep"
)

// rules in the order of the tables.
var rules = []string{ruleFixed, ruleHybrid, ruleAuto, ruleSki, rulePlanned, ruleOracle}

// report is the page that the study writes.
type report struct {
	strings.Builder
}

func (r *report) printf(format string, args ...any) { fmt.Fprintf(&r.Builder, format, args...) }

// fleetTable tells what the fleets are, and how the late requests fall on sites.
func (r *report) fleetTable(all []*study) {
	r.printf("| fleet | sites | made of | span | requests | bursts |\n|---|---|---|---|---|---|\n")
	for _, s := range all {
		f := s.fleet
		kinds := map[int32]bool{}
		for _, k := range f.Kind {
			kinds[k] = true
		}
		r.printf("| %s | %d | %d patterns | %.1f days | %d | %d |\n", f.Name, f.Sites, len(kinds), f.Span/86400, f.Requests(), len(f.Bursts))
	}
	r.printf("\n")
}

// memoryTable is the memory of each rule at a level.
func (r *report) memoryTable(all []*study, draws map[*study][][]float64, m measure, level float64, with bool) {
	r.printf("| rule |")
	for _, s := range all {
		r.printf(" %s |", s.fleet.Name)
	}
	r.printf("\n|---|%s\n", strings.Repeat("---|", len(all)))
	for _, rule := range rules {
		r.printf("| %s |", rule)
		for _, s := range all {
			r.printf(" %s |", percent(s.least(rule, m, level, draws[s][0])))
		}
		r.printf("\n")
	}
	if with {
		for _, rule := range []string{ruleSteered, ruleNode} {
			r.printf("| **%s** |", rule)
			for _, s := range all {
				memory, held := s.steered(rule, level, draws[s][0])
				r.printf(" **%s** (%.2f %%) |", percent(memory), 100*held)
			}
			r.printf("\n")
		}
	}
	r.printf("\n")
}

// siteTable is what the fleet's figure hides.
func (r *report) siteTable(all []*study) {
	r.printf("| fleet | sites without a late request | late at the median site | at the 90th of 100 | at the 99th |\n|---|---|---|---|---|\n")
	for _, s := range all {
		var shares []float64
		none := 0
		for _, b := range s.at(ruleSteered, 0.01).Sites {
			if b.Requests == 0 {
				continue
			}
			if b.Late == 0 {
				none++
			}
			shares = append(shares, b.Late/b.Requests)
		}
		slices.Sort(shares)
		q := func(p float64) string { return percent(shares[min(len(shares)-1, int(p*float64(len(shares))))]) }
		r.printf("| %s | %s | %s | %s | %s |\n", s.fleet.Name, percent(float64(none)/float64(len(shares))), q(0.5), q(0.9), q(0.99))
	}
	r.printf("\n")
}

func (r *report) costTable(all []*study) {
	r.printf("| fleet | V | fcnode's plans | one-way plans | ski-rental | wakes ahead a site and day | dumps a site and day |\n|---|---|---|---|---|---|---|\n")
	for _, s := range all {
		for _, v := range priced {
			p := prices(v)
			cost := func(rule string) float64 { t := s.at(rule, v).Total(); return t.Cost(p) }
			oracle := cost(ruleOracle)
			t := s.at(rulePlanned, v).Total()
			perDay := float64(s.fleet.Sites) * s.fleet.Span / 86400
			r.printf("| %s | %.0f | %.2f | %.2f | %.2f | %.1f | %.1f |\n", s.fleet.Name, v, cost(rulePlanned)/oracle, cost(ruleOneWay)/oracle, cost(ruleSki)/oracle, t.Ahead/perDay, t.Dumps/perDay)
		}
	}
	r.printf("\n")
}

func (r *report) budgetTable(rows []budgetRow) {
	r.printf("| fleet | budget | fcnode: mean wait, late | greedy-dual | LRU on the ladder | fcnode's peak | evictions | wakes that queued |\n|---|---|---|---|---|---|---|---|\n")
	for _, b := range rows {
		say := func(x *model.BudgetReport) string {
			return fmt.Sprintf("%.1f ms, %.2f %%", 1e3*x.MeanWait(), 100*x.Late/x.Requests)
		}
		r.printf("| %s | %.1f GiB | **%s** | %s | %s | %.1f GiB | %d | %d |\n", b.fleet, b.limit, say(b.ours), say(b.greedy), say(b.longest), b.ours.Peak, b.ours.Evicted, b.ours.Queued)
	}
	r.printf("\n")
}

func (r *report) alarmTable(a *alarmStudy) {
	r.printf("| watcher | on requests | on visitors |\n|---|---|---|\n")
	for _, row := range a.rows {
		say := func(w watched) string {
			if math.IsNaN(w.delay) {
				return "never so few alarms"
			}
			return fmt.Sprintf("%.1f s", w.delay)
		}
		r.printf("| %s | %s | %s |\n", row.name, say(row.requests), say(row.visitors))
	}
	r.printf("\n")
}

func (r *report) goalTable(goals []goal) {
	r.printf("| # | goal | |\n|---|---|---|\n")
	for _, g := range goals {
		word := "met"
		if !g.met {
			word = fmt.Sprintf("**MISSED**; %d of %d met", g.held, len(g.detail))
		}
		r.printf("| %d | %s | %s |\n", g.number, g.text, word)
	}
	r.printf("\nEach figure, with the interval in which 95 of 100 draws of the sites lie; the bad end counts for goals 1 to 3:\n\n")
	for _, g := range goals {
		r.printf("%d.\n", g.number)
		for _, d := range g.detail {
			r.printf("   - %s\n", d)
		}
	}
	r.printf("\n")
}

// charts are memory against the late share, a fleet each.
func charts(all []*study, draws map[*study][][]float64) []chart {
	var out []chart
	for _, s := range all {
		c := chart{title: s.fleet.Name + ": memory for the late share", x: "requests that wait longer than 100 ms, %", y: "memory, % of always running"}
		for _, rule := range rules {
			l := line{name: rule}
			for _, level := range []float64{0.001, 0.002, 0.003, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.05} {
				if v := s.least(rule, lateShare, level, draws[s][0]); !math.IsNaN(v) {
					l.x, l.y = append(l.x, 100*level), append(l.y, 100*v)
				}
			}
			c.lines = append(c.lines, l)
		}
		out = append(out, c)
	}
	return out
}

// stateSize is measured, not declared.
func stateSize() int {
	b, err := new(sleep.State).MarshalBinary()
	if err != nil {
		return math.MaxInt
	}
	return len(b)
}
