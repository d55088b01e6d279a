package main

import (
	"slices"

	"github.com/fcnode/fcnode/detect/model"
	"github.com/fcnode/fcnode/detect/sleep"
)

// cascadePrice is at which total costs are compared.
const cascadePrice = 600

// cascadeStudy is a fleet with and without that sites are woken beside those that they follow.
type cascadeStudy struct {
	study // for its draws

	without, with           *model.NightReport // the price steered to 1 %
	costWithout, costBeside *model.NightReport // at cascadePrice
}

// chainsFleet is the one that has cascades, as it was made with them.
func chainsFleet(which uint32, short bool, seed uint64) *model.Fleet {
	sites, days := 150, 14
	if short {
		sites, days = 50, 7
	}
	return model.Chains("chains", sites, days, seed+uint64(which))
}

// withChains are the fleets, and the one with cascades.
func withChains(fleets []*model.Fleet, o options) []*model.Fleet {
	return append(slices.Clone(fleets), chainsFleet(uint32(o.half), o.short, o.seed))
}

// cascades plays fleets with them and without, so many at a time.
func cascades(fleets []*model.Fleet, workers int) []*cascadeStudy {
	out := make([]*cascadeStudy, len(fleets))
	p := newPlayer(workers)
	for i, f := range fleets {
		c := &cascadeStudy{study: study{fleet: f}}
		out[i] = c
		play := func(to **model.NightReport, price, share float64, beside bool) {
			r := model.NewPlanned(wordpress(), prices(price), share, f.Sites)
			if beside {
				r.Cascades = sleep.NewCascades()
			}
			p.nights(f, r, func(n *model.NightReport) { *to = n })
		}
		play(&c.without, sleep.DefaultPrices.Visit, 0.01, false)
		play(&c.with, sleep.DefaultPrices.Visit, 0.01, true)
		play(&c.costWithout, cascadePrice, 0, false)
		play(&c.costBeside, cascadePrice, 0, true)
	}
	p.wait()
	return out
}

// cost is the total with cascades, of that without.
func (c *cascadeStudy) cost(draws [][]float64) interval {
	return costOver(c.costBeside, c.costWithout, draws)
}

// cascadePart is the section of the page.
func (r *report) cascadePart(chains []*cascadeStudy, o options) {
	r.printf("## Cascades\n\nEach fleet without and with that a site is woken beside another whose wakes visits to it have followed within %v: the price steered to 1 %%, and at a price that stays. "+
		"None of the recorded fleets can have cascades: Azure's are by the minute, and NASA's sites are made of one. What they show is what it costs that some things are taken for one: sites of \"azure day\" that were made of one pattern do go together, minute by minute. "+
		"\"chains\" is made up with them (model.Chains, seed %d): every second site is called by the one before it, at between one in twenty and each of its visits, 0.1 s to 2 s later in the median, and hardly by anybody else. "+
		"Only sites without processes are woken so, as by a node; the bounds of `wake.ahead` are not in the model, and a caller's own wake does not put its call off.\n\n", sleep.Follows, o.seed+uint64(o.half))
	r.cascadeTable(chains, o)
}

// cascadeTable tells what became of each fleet.
func (r *report) cascadeTable(all []*cascadeStudy, o options) {
	r.printf("| fleet | memory, without and with | mean wait | late | total cost of that without, V = %d | woken beside another, a site and day | of which somebody came |\n|---|---|---|---|---|---|---|\n", cascadePrice)
	for _, c := range all {
		a, b := c.without.Total(), c.with.Total()
		came := "-"
		if b.Beside > 0 {
			came = percent(b.Followed / b.Beside)
		}
		r.printf("| %s | %s, %s | %.2f ms, %.2f ms | %.2f %%, %.2f %% | %s | %.2f | %s |\n", c.fleet.Name,
			percent2(c.without.Share()), percent2(c.with.Share()), 1e3*meanWait(&a), 1e3*meanWait(&b), 100*lateShare(&a), 100*lateShare(&b),
			three(c.cost(c.resamples(o.draws, o.seed))), b.Beside/float64(c.fleet.Sites)/(c.fleet.Span/86400), came)
	}
	r.printf("\n")
}
