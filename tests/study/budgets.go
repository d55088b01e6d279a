package main

import (
	"sync"

	"github.com/fcnode/fcnode/detect/model"
)

// budgetRow is a fleet under a fifth of the memory that it would take.
type budgetRow struct {
	fleet                 string
	limit                 float64
	ours, greedy, longest *model.BudgetReport
}

const budgetShare = 0.2

func budgets(all []*model.Fleet) []budgetRow {
	o := wordpress()
	const checkpointed = 3
	out := make([]budgetRow, len(all))
	var wg sync.WaitGroup
	for i, f := range all {
		limit := budgetShare * float64(f.Sites) * o[0].Memory / (1 << 30)
		row := &out[i]
		row.fleet, row.limit = f.Name, limit
		play := func(to **model.BudgetReport, k model.Keeper) {
			wg.Go(func() { *to = model.PlayBudget(config(f), f, k, limit) })
		}
		play(&row.ours, model.NewPlannedKeeper(o, prices(6000), f.Sites))
		play(&row.greedy, &model.GreedyDual{Options: o, To: checkpointed})
		play(&row.longest, model.LRU{Options: o})
	}
	wg.Wait()
	return out
}

// budgetGoal is number 6.
func budgetGoal(rows []budgetRow) goal {
	g := goal{number: 6, met: true, text: "at a budget of 20 %: mean wait ≤ 1/3 of greedy-dual's, ≤ 1/2 of LRU's on the ladder, the peak inside the budget"}
	for _, r := range rows {
		a, b := r.ours.MeanWait()/r.greedy.MeanWait(), r.ours.MeanWait()/r.longest.MeanWait()
		g.check(a <= 1.0/3 && b <= 0.5 && r.ours.Peak <= r.limit, "%s: %.2f of greedy-dual's, %.2f of LRU's, peak %.2f of %.2f GiB", r.fleet, a, b, r.ours.Peak, r.limit)
	}
	return g
}
