package main

import (
	"fmt"

	"github.com/fcnode/fcnode/detect/model"
	"github.com/fcnode/fcnode/detect/sleep"
)

// seasonHours are the cycles that are tried: a day and a week.
var seasonHours = []int{24, 168}

// seasonStudy is a fleet planned by the clock, and by op-time where that has paid.
type seasonStudy struct {
	study
	plain, steered *model.NightReport // at cascadePrice, and steered to 1 %
	by             []seasonRun        // for each of seasonHours
}

type seasonRun struct {
	cost, steered  *model.NightReport
	followed, runs int // pauses of cost
}

func seasons(fleets []*model.Fleet, workers int) []*seasonStudy {
	out := make([]*seasonStudy, len(fleets))
	p := newPlayer(workers)
	play := func(f *model.Fleet, to **model.NightReport, rule model.Sleeper, then func()) {
		p.nights(f, rule, func(n *model.NightReport) {
			*to = n
			then()
		})
	}
	for i, f := range fleets {
		s := &seasonStudy{study: study{fleet: f}, by: make([]seasonRun, len(seasonHours))}
		out[i] = s
		play(f, &s.plain, model.NewPlanned(wordpress(), prices(cascadePrice), 0, f.Sites), func() {})
		play(f, &s.steered, model.NewPlanned(wordpress(), sleep.DefaultPrices, 0.01, f.Sites), func() {})
		for k, hours := range seasonHours {
			run := &s.by[k]
			r := model.NewSeasonal(wordpress(), prices(cascadePrice), 0, f.Sites, hours)
			play(f, &run.cost, r, func() { run.followed, run.runs = r.Followed, r.All })
			play(f, &run.steered, model.NewSeasonal(wordpress(), sleep.DefaultPrices, 0.01, f.Sites, hours), func() {})
		}
	}
	p.wait()
	return out
}

// seasonPart is the section of the page.
func (r *report) seasonPart(all []*seasonStudy, o options) {
	r.printf("## Season\n\nEach fleet planned by the clock, and by operational time: pauses are counted and planned in a time that runs faster in the node's busy hours (of the day, or of the week, learnt), " +
		"at the sites at which a paired test says that this costs less, both being priced for each pause. A second of that time holds memory for as long as it lasts by the clock. It takes twice the state of a site, and the node does not do it. " +
		"What lasts for no more than one day has nothing to learn a season from, and the sites of \"nasa fleet\" have their days at hours of their own, so that the node has none: these show what it costs where there is none.\n\n")
	r.printf("| fleet | hours | total cost of that by the clock, V = %d | memory at 1 %% late, by the clock and by season | pauses planned by season |\n|---|---|---|---|---|\n", cascadePrice)
	for _, s := range all {
		for k, hours := range seasonHours {
			run := &s.by[k]
			r.printf("| %s | %d | %s | %s, %s | %s |\n", s.fleet.Name, hours, three(costOver(run.cost, s.plain, s.resamples(o.draws, o.seed))),
				percent2(s.steered.Share()), percent2(run.steered.Share()), percent(float64(run.followed)/float64(run.runs)))
		}
	}
	r.printf("\n")
}

// costOver is the total cost in one report over that in another, at cascadePrice.
func costOver(a, b *model.NightReport, draws [][]float64) interval {
	p := prices(cascadePrice)
	return over(draws, func(w []float64) float64 {
		sum := func(r *model.NightReport) (v float64) {
			for i := range r.Sites {
				v += w[i] * r.Sites[i].Cost(p)
			}
			return v
		}
		return sum(a) / sum(b)
	})
}

func percent2(v float64) string { return fmt.Sprintf("%.2f %%", 100*v) }

func three(i interval) string { return fmt.Sprintf("%.3f (%.3f to %.3f)", i.value, i.low, i.high) }
