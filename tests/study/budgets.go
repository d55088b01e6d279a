package main

import (
	"github.com/fcnode/fcnode/detect/model"
)

// budgetRow is a fleet under a fifth of the memory that it would take.
type budgetRow struct {
	fleet                 string
	limit                 float64
	ours, greedy, longest *model.BudgetReport
}

const budgetShare = 0.2

func budgets(all []*model.Fleet) (out []budgetRow) {
	o := wordpress()
	const checkpointed = 3
	for _, f := range all {
		limit := budgetShare * float64(f.Sites) * o[0].Memory / (1 << 30)
		play := func(k model.Keeper) *model.BudgetReport { return model.PlayBudget(config(f), f, k, limit) }
		out = append(out, budgetRow{
			fleet: f.Name, limit: limit,
			ours:    play(model.NewPlannedKeeper(o, prices(6000), f.Sites)),
			greedy:  play(&model.GreedyDual{Options: o, To: checkpointed}),
			longest: play(model.LRU{Options: o}),
		})
	}
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
