package main

import "github.com/fcnode/fcnode/runtime/policy"

// page is all of docs/efficiency.md.
func (r *report) page(o options, all []*study, draws map[*study][][]float64, rows []budgetRow, chains []*cascadeStudy, by []*seasonStudy, alarms *alarmStudy, goals []goal, drawn []chart) {
	r.printf(`# Efficiency: what sleep saves, and what it costs visitors

Written by %s; do not edit. How the rules work is in [detection.md](detection.md).

Fleets of sites are replayed on paper (package detect/model): each site is a WordPress of 91 MiB that wakes from reclaimed (27 MiB) in 30 ms, from checkpointed in 200 ms and from cold in 750 ms.
Memory is told in percent of what the fleet holds when all sites are always running.
A request is late when it waits for over 100 ms.
All rules see the same requests.

- **Held out.** The constants of fcnode's rules were chosen on one half of the patterns (whole applications; of NASA's log July), and the figures here are of the other half (of NASA's log August).
  The other rules are tuned in hindsight, on the half that they are shown on, by a grid and a straight line between its points.
- **Uncertain.** Intervals are of %d draws of the recorded patterns with replacement; sites that were made of one pattern are drawn together. Seed %d.
- **Left out.** Patterns of over a request a second on average never sleep under any rule, and would only make the shares look small.
  The first request to each site is billed to no rule.
- **Not real.** None of the traces is of web hosting: Azure's are functions of 2019 by the minute, NASA's is one web server of 1995 from which sites are made by thinning, and "hosting" is made up (model.Hosting).

`, "`make study`", o.draws, o.seed)
	r.fleetTable(all)
	r.printf("## Goals\n\n")
	r.goalTable(goals)
	r.printf("Goal 8 holds the simulator to a real node. It is not measured here.\n\n")
	r.printf("## Memory when 1 %% of the requests are late\n\nThe last two lines are steered to 1 %%, and the share that they held is in brackets; the others were tuned afterwards. The very last is a node with `wake.ahead: 0`: no site is woken ahead, and each stays awake for %v after its last visitor.\n\n", policy.Linger)
	r.memoryTable(all, draws, lateShare, 0.01, true)
	r.printf("## Memory at a mean wait of 10 ms\n\n")
	r.memoryTable(all, draws, meanWait, 0.010, false)
	r.printf("## Curves\n\n")
	for i := range drawn {
		r.printf("![%s](%s)\n\n", drawn[i].title, plotName(&drawn[i]))
	}
	r.printf("## On whom the late requests fall\n\nThe price steered to 1 %%. One price for all means that rare visitors are late more often: busy sites are worth keeping awake.\n\n")
	r.siteTable(all)
	r.printf("## Total cost\n\nMemory, waiting, moves and writes at three prices V of a second of waiting, over the cost of an oracle that knows how long each pause will be and may only park.\n\n")
	r.costTable(all)
	r.printf("## A budget of memory\n\nA fifth of what the fleet would hold if it were always running. A move takes no time in this model.\n\n")
	r.budgetTable(rows)
	r.cascadePart(chains, o)
	r.seasonPart(by, o)
	if alarms == nil {
		return
	}
	r.printf("## Seeing a surge\n\nMean delay until an alarm, when visitors become four times as many for %d minutes, %d times, at %.2f alarms a day on the same stream without surges. "+
		"The rate is NASA's of August 1995, by ten minutes; the log has no addresses, so visitors are made up, each of %.1f requests on average, which gives the requests the overdispersion of NASA's (φ = 2.4). "+
		"All thresholds were tuned in hindsight to that many alarms, which is what fcnode's test has on the log itself.\n\n", surgeLength/60, alarms.surges, alarms.alarms, alarms.mean)
	r.alarmTable(alarms)
}
