package sleep

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/detect/change"
	"github.com/fcnode/fcnode/detect/internal/figure"
)

// Noticeable is what a wake may take without a visitor noticing: it is lost in the
// jitter of the network. A request that is delayed by less does not count as cold.
const Noticeable = 10 * time.Millisecond

// LadderInput is what the choice of a site's rungs rests on.
type LadderInput struct {
	Costs     []TierCost // measured on this site; guesses stand in for what is missing
	Objective Objective
	// Allowed are the tiers that the spec and the moment allow. An After that is not 0 is the
	// spec's, and stays. Nil allows all.
	Allowed []Rung
	Idle    time.Duration // no rung before it; 0: no such wish
	Rate    change.Gamma  // of requests; the zero value: unknown
	Gaps    *Gaps         // idle times seen; may be nil
	// Timeout is IdleControl's, if there is one; it goes before the closed forms.
	Timeout  time.Duration
	Pressure float64 // how many times as dear memory is as usual: 0 and 1 as usual
	Prices   Prices  // the zero value: DefaultPrices
}

// Rung is a tier, when to go there, measured from the last activity, and why.
type Rung struct {
	Tier   detect.Tier
	After  time.Duration
	Reason string
}

// Choice is a ladder: the rungs in their order, and why the other tiers are not among
// them.
type Choice struct {
	Rungs  []Rung
	Unused []Rung
}

// String is the choice in a line for people.
func (c Choice) String() string {
	var parts []string
	for _, r := range c.Rungs {
		parts = append(parts, fmt.Sprintf("%s after %s (%s)", r.Tier, figure.Duration(r.After), r.Reason))
	}
	if len(parts) == 0 {
		return "stays awake"
	}
	return strings.Join(parts, ", ")
}

// fewGaps is where a histogram of idle times begins to say more than the closed form.
const fewGaps = 200

// idleFor is the idle time after which a noticeable wake keeps the share of the
// objective, and in words where it comes from.
func (in LadderInput) idleFor(wake time.Duration) (time.Duration, string) {
	share := in.Objective.Cold
	percent := fmt.Sprintf("%.3g %% of the requests may find it asleep", 100*share)
	switch {
	case in.Timeout > 0:
		return in.Timeout, percent + "; steered by what visitors met"
	case in.Gaps != nil && in.Gaps.Count() >= fewGaps:
		return in.Gaps.IdleFor(share), fmt.Sprintf("%s; so rare were longer pauses, of %d", percent, in.Gaps.Count())
	case in.Rate.Seconds > 0 && in.Rate.Shape > 0:
		// The later of the two: the rate is uncertain, and arrivals come in the start too.
		return max(IdleTimeoutUnknown(in.Rate, share), IdleTimeout(in.Rate.Mean(), wake, share)),
			fmt.Sprintf("%s; at %s requests/s", percent, figure.Number(in.Rate.Mean()))
	}
	return IdleTimeoutUnknown(new(change.Rate).Posterior(), share), percent + "; its visitors are not known yet"
}

// residual is how long the site is expected to stay idle when it has been so for t.
func (in LadderInput) residual(t time.Duration) time.Duration {
	if in.Gaps != nil && in.Gaps.Count() >= fewGaps {
		return max(in.Gaps.Residual(t), t/10)
	}
	rate := in.Rate
	if rate.Seconds <= 0 || rate.Shape <= 0 {
		rate = new(change.Rate).Posterior()
	}
	return figure.Seconds((rate.Seconds + t.Seconds()) / rate.Shape)
}

// Ladder chooses the rungs of a site: the cheapest that meet its objective.
//
// Each tier costs something while the site sleeps there, and something once, the
// visitor's waiting, when it wakes from there. After an idle time t the tier with the
// least (wake + t × hold) is entered: without any knowledge of the future that costs at most
// twice what the best choice in hindsight would (Irani, Shukla, Gupta 2003). Tiers that are
// never the least drop out by themselves. An objective overrules this: a tier whose
// wake is longer than it allows is out, and with a share of cold requests the noticeable tiers
// begin exactly where that share is met, with the one that is cheapest for the rest of
// the pause as it is expected.
func Ladder(in LadderInput) Choice {
	if in.Prices == (Prices{}) {
		in.Prices = DefaultPrices
	}
	if in.Pressure == 0 {
		in.Pressure = 1
	}
	in.Pressure = figure.Clamp(in.Pressure, 0.01, 1000, 1)
	var out Choice
	costs := complete(in.Costs)
	steps, ok := in.admissible(costs, &out)
	if !ok {
		return out
	}
	in.envelope(steps, &out)
	return out
}

// step is a tier that may be a rung.
type step struct {
	cost  TierCost
	hold  float64 // of a second there
	wake  float64 // of a wake from there
	fixed time.Duration
}

// admissible are the tiers that are allowed and whose wake the objective allows, with
// running first.
func (in LadderInput) admissible(costs []TierCost, out *Choice) ([]step, bool) {
	steps := []step{{cost: costs[0], hold: in.Prices.hold(costs[0], in.Pressure)}}
	for _, c := range costs[1:] {
		after, ok := in.allows(c.Tier)
		s := step{cost: c, hold: in.Prices.hold(c, in.Pressure), wake: in.Prices.Visit * c.Median.Seconds(), fixed: after}
		switch {
		case !ok:
			continue // the spec says why, or the caller
		case after == 0 && in.Objective.Wake > 0 && c.P99 > in.Objective.Wake:
			out.Unused = append(out.Unused, Rung{Tier: c.Tier, Reason: fmt.Sprintf("a wake takes %s%s, %s may be added", figure.Duration(c.P99), guess(c), figure.Duration(in.Objective.Wake))})
			continue
		}
		steps = append(steps, s)
	}
	return steps, len(steps) > 1
}

// allows says whether a tier may be used, and when the spec wants it.
func (in LadderInput) allows(t detect.Tier) (time.Duration, bool) {
	if in.Allowed == nil {
		return 0, true
	}
	for _, a := range in.Allowed {
		if a.Tier == t {
			return max(0, a.After), true
		}
	}
	return 0, false
}

// guess marks what was not measured yet.
func guess(c TierCost) string {
	if c.Samples == 0 {
		return " (assumed)"
	}
	return ""
}

// envelope walks down from running: at each tier the next is the one that is cheaper
// soonest.
func (in LadderInput) envelope(steps []step, out *Choice) {
	at := time.Duration(0)
	here := steps[0]
	rest := steps[1:]
	for len(rest) > 0 {
		best, when, why := -1, time.Duration(math.MaxInt64), ""
		for i, s := range rest {
			t, reason := in.crossing(here, s, at)
			if t < when {
				best, when, why = i, t, reason
			}
			if s.fixed > 0 {
				break // nothing deeper goes before what the spec orders
			}
		}
		if best < 0 || when == math.MaxInt64 {
			break
		}
		for _, s := range rest[:best] {
			out.Unused = append(out.Unused, Rung{Tier: s.cost.Tier, Reason: fmt.Sprintf("%s is worth it sooner", rest[best].cost.Tier)})
		}
		at, here = max(when, in.Idle, at), rest[best]
		out.Rungs = append(out.Rungs, Rung{Tier: here.cost.Tier, After: at, Reason: why})
		rest = rest[best+1:]
	}
	for _, s := range rest {
		out.Unused = append(out.Unused, Rung{Tier: s.cost.Tier, Reason: fmt.Sprintf("holds no less than %s", here.cost.Tier)})
	}
}

// worthwhile is how much of what is held a step down has to save.
const worthwhile = 0.02

// crossing is the idle time from which s is better than here, which was entered at
// an idle time.
func (in LadderInput) crossing(here, s step, at time.Duration) (time.Duration, string) {
	if s.fixed > 0 {
		return max(s.fixed, at), "as the spec says"
	}
	saves := here.hold - s.hold
	if saves <= worthwhile*here.hold || saves <= 0 {
		return math.MaxInt64, ""
	}
	even := figure.Seconds((s.wake - here.wake) / saves)
	why := fmt.Sprintf("a wake takes %s%s; it saves %s by then", figure.Duration(s.cost.Median), guess(s.cost), saving(here.cost, s.cost))
	if in.Objective.Cold > 0 && s.cost.P99 > Noticeable {
		limit, words := in.idleFor(s.cost.Median)
		// Within the objective: now, if that pays for the rest of the pause.
		if s.wake-here.wake <= saves*in.residual(limit).Seconds() {
			even = 0
		}
		if even <= limit {
			why = words + "; a wake takes " + figure.Duration(s.cost.Median) + guess(s.cost)
		}
		even = max(even, limit)
	}
	return max(even, at), why
}

// saving is what a step down gives back, in words.
func saving(from, to TierCost) string {
	var parts []string
	if d := from.Memory - to.Memory; d > 0.02*from.Memory {
		parts = append(parts, figure.Bytes(d)+" of memory")
	}
	if d := from.Disk - to.Disk; d > 0 {
		parts = append(parts, figure.Bytes(d)+" of disk")
	}
	if d := from.CPU - to.CPU; d > 0 {
		parts = append(parts, fmt.Sprintf("%.2g cores", d))
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}
