package model

import (
	"math"
	"time"

	"github.com/fcnode/fcnode/detect/sleep"
)

// PlannedKeeper is package sleep's rule under a budget: its plans at the price that the
// budget makes, and evictions where that was not enough.
type PlannedKeeper struct {
	Planned
	pressure sleep.Pressure
	memory   float64 // the price of the planner's table
}

// NewPlannedKeeper makes it for so many sites.
func NewPlannedKeeper(options []sleep.Option, prices sleep.Prices, sites int) *PlannedKeeper {
	return &PlannedKeeper{Planned: *NewPlanned(options, prices, 0, sites)}
}

// reprice tells the planner what memory costs now.
func (r *PlannedKeeper) reprice() {
	if m := r.pressure.Memory(); math.Abs(m-r.memory) > 0.05*r.memory {
		r.memory, r.Prices.Memory, r.used = m, m, 0
	}
	r.use()
}

// Idle implements Keeper.
func (r *PlannedKeeper) Idle(site int, _, _ float64, _ *Night) {
	r.reprice()
	r.Planner.Plan(&r.states[site], &r.plans[site])
}

// Woke implements Keeper.
func (r *PlannedKeeper) Woke(site int, at, pause float64, met Met) {
	r.reprice()
	r.Planned.Woke(site, at, pause, met)
}

// Used implements Keeper.
func (r *PlannedKeeper) Used(seconds, used, limit float64) {
	r.pressure.Observe(time.Duration(seconds*1e9), used, limit)
}

// Again implements Keeper: a move that is due is planned anew when the price has moved.
func (r *PlannedKeeper) Again(site int, idle float64) (int, float64) {
	before := r.memory
	if r.reprice(); r.memory != before && idle > 0 {
		r.Planner.Plan(&r.states[site], &r.plans[site])
	}
	plan := r.plans[site].Follow()
	now := time.Duration((idle + 0.0005) * 1e9)
	next, ok := plan.Next(now)
	if !ok {
		return plan.At(now), math.Inf(1)
	}
	return plan.At(now), next.After.Seconds() - idle
}

// Worth implements Keeper: who was idle for the longest goes first, unless the plan
// wants it awake within the time that going and coming back takes.
func (r *PlannedKeeper) Worth(site int, _, idle float64, option int) (float64, int) {
	to := deeper(r.Options, option)
	move := (r.Options[to].Enter + r.Options[to].Wake).Seconds()
	if next, ok := r.plans[site].Follow().Next(time.Duration(idle * 1e9)); ok && next.Option < option && next.After.Seconds()-idle < move {
		return -1, to
	}
	w := 1 / (1 + idle)
	if option != 0 {
		w += 2
	}
	return w, to
}
