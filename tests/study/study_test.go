package main

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/detect/model"
)

func TestMemoryAtLiesBetweenSettings(t *testing.T) {
	s := sums{memory: []float64{0.5, 0.3, 0.1}, level: []float64{0.001, 0.02, 0.04}}
	for level, want := range map[float64]float64{0.03: 0.2, 0.02: 0.3, 0.05: 0.1, 0.001: 0.5} {
		if got := s.memoryAt(level); math.Abs(got-want) > 1e-9 {
			t.Errorf("at %v: %v, not %v", level, got, want)
		}
	}
	if got := s.memoryAt(0.0001); !math.IsNaN(got) {
		t.Errorf("a level that was never reached takes %v", got)
	}
	// A setting that is worse in both does not count.
	s = sums{memory: []float64{0.2, 0.9}, level: []float64{0.01, 0.005}}
	if got := s.memoryAt(0.012); got != 0.2 {
		t.Errorf("%v", got)
	}
}

func TestHalvesKeepApplicationsTogether(t *testing.T) {
	var all []model.Pattern
	for i := range 400 {
		p := model.Pattern{Name: string(rune('a'+i%26)) + string(rune('a'+i/26)), Minutes: []model.MinuteCount{{Minute: 1, Count: 1 + i}}}
		if i%2 == 0 {
			p.App = string(rune('A' + i%40))
		}
		all = append(all, p)
	}
	of := map[string]uint32{}
	n := 0
	for which := range uint32(2) {
		got := half(all, which, 5) // over 300 requests in 5 minutes never sleep
		n += len(got)
		for _, p := range got {
			if before, ok := of[p.App]; ok && p.App != "" && before != which {
				t.Errorf("application %s is in both halves", p.App)
			}
			of[p.App] = which
			if p.Total() > 300 {
				t.Errorf("%d requests in 5 minutes", p.Total())
			}
		}
		if len(got) < 60 {
			t.Errorf("%d patterns in half %d", len(got), which)
		}
	}
	if n != 300 {
		t.Errorf("%d patterns in both halves", n)
	}
}

func TestChart(t *testing.T) {
	c := chart{title: "a < b", x: "x", y: "y", lines: []line{{"one & two", []float64{0.1, 1, 10}, []float64{5, 50, 20}}, {"none", nil, nil}}}
	d := xml.NewDecoder(strings.NewReader(c.svg()))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if text := c.text(60, 12); !strings.Contains(text, "a < b") || strings.Count(text, "a") < 20 {
		t.Error(text)
	}
}

func TestOneSectionIsReplaced(t *testing.T) {
	const page = "# Page\n\n## One\n\nold\n\n## Two\n\nstays\n\n"
	for section, want := range map[string]string{
		"## One\n\nnew\n\n": "# Page\n\n## One\n\nnew\n\n## Two\n\nstays\n\n",
		"## Two\n\nnew\n\n": "# Page\n\n## One\n\nold\n\n## Two\n\nnew\n\n",
	} {
		if got, err := replaceSection(page, section); err != nil || got != want {
			t.Errorf("%q, %v", got, err)
		}
	}
	if _, err := replaceSection(page, "## Three\n"); err == nil {
		t.Error("a page without the section has got it somewhere")
	}
}

func TestRegressionFails(t *testing.T) {
	o := options{cells: filepath.Join(t.TempDir(), "cells.json"), seed: 1}
	now := map[string]float64{"a fleet: memory": 0.2, "a fleet: cost": 1.1}
	if err := compareCells(o, now); err != nil {
		t.Errorf("without figures of before: %v", err)
	}
	o.accept = true
	if err := compareCells(o, now); err != nil {
		t.Fatal(err)
	}
	o.accept = false
	if err := compareCells(o, map[string]float64{"a fleet: memory": 0.2 * 1.019}); err != nil {
		t.Errorf("1.9 %% worse: %v", err)
	}
	if err := compareCells(o, map[string]float64{"a fleet: memory": 0.2 * 1.021}); err == nil || !strings.Contains(err.Error(), "a fleet: memory") {
		t.Errorf("2.1 %% worse: %v", err)
	}
	o.short = true // has figures of its own
	if err := compareCells(o, map[string]float64{"a fleet: memory": 9}); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(o.cells, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := compareCells(o, now); err == nil {
		t.Error("figures of before that cannot be read are no figures")
	}
}

// TestStudyOfASmallFleet walks all of the study, without traces.
func TestStudyOfASmallFleet(t *testing.T) {
	fleets := []*model.Fleet{model.Hosting("hosting", 5, 3, 1)}
	all := runAll(fleets, true, 2, func(int) {})
	draws := map[*study][][]float64{all[0]: all[0].resamples(10, 1)}
	rows := budgets(fleets)
	goals := append(memoryGoals(all, draws), costGoals(all, draws)...)
	goals = append(goals, shareGoal(all), budgetGoal(rows), costsGoal(all, 1, stateSize()))
	sortGoals(goals)
	r := &report{}
	drawn := charts(all, draws)
	o := options{draws: 10, seed: 1}
	chains := cascades(append(fleets, model.Chains("chains", 30, 14, 1)), 2)
	r.page(o, all, draws, rows, chains, seasons(fleets, 2), nil, goals, drawn)
	dir := t.TempDir()
	if err := writeDocs(dir, r, drawn); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "efficiency.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| 1 | ", "| 7 | ", ruleSteered, "efficiency-hosting.svg", "the state of a site: 106 bytes met", "| chains | "} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page has no %q", want)
		}
	}
	if strings.Contains(string(page), "NaN") {
		t.Error("the page has a NaN")
	}
	if len(cells(all, draws, rows)) < 4 {
		t.Errorf("cells %v", cells(all, draws, rows))
	}
	if a, b := chains[1].cost(chains[1].resamples(10, 1)), chains[1].with.Total(); a.value >= 1 || b.Followed < 0.25*b.Beside || b.Beside == 0 {
		t.Errorf("where sites follow each other it costs %v of what it did, and of %v wakes %v were followed", a, b.Beside, b.Followed)
	}
	// An oracle is cheaper than whoever it is an oracle for.
	for _, v := range priced {
		if c := all[0].costRatio(ruleSki, ruleOracle, v, draws[all[0]]); c.value < 1 || c.low > c.value || c.high < c.value {
			t.Errorf("ski-rental costs %v of the oracle at %v", c, v)
		}
	}
	if _, err := readTraces(filepath.Join(dir, "none")); err != nil {
		t.Errorf("without a folder of traces: %v", err)
	}
	if _, err := readTraces(dir); err == nil || !strings.Contains(err.Error(), "azure2019-day-patterns") {
		t.Errorf("a folder without traces: %v", err)
	}
}
