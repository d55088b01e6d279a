package policy

import (
	"fmt"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/detect/sleep"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/spec"
)

// Input is what the choice rests on.
type Input struct {
	Spec       *spec.Site
	Experience *Experience
	Can        func(t detect.Tier, asked bool) error // whether the node can do it
	Now        time.Time
	Pressure   float64
}

// Choose makes the ladder.
func (in Input) Choose() sleep.Choice {
	rungs, unused := in.allowed()
	if len(rungs) == 0 {
		return sleep.Choice{Unused: unused}
	}
	input := sleep.LadderInput{
		Costs:     in.Experience.costs(),
		Objective: sleep.Objective{Cold: in.Spec.Objective.Cold.Share(), Wake: time.Duration(in.Spec.Objective.Wake)},
		Allowed:   rungs, Idle: time.Duration(in.Spec.Idle.After), Pressure: in.Pressure,
	}
	if input.Objective.Cold > 0 {
		in.Experience.Visitors.Tell(&input)
	}
	c := sleep.Ladder(input)
	c.Unused = append(c.Unused, unused...)
	return c
}

// allowed are the tiers that may be used, and why others may not.
func (in Input) allowed() (rungs, unused []sleep.Rung) {
	if !in.Spec.Tiers.Auto {
		return in.listed()
	}
	for _, t := range detect.Tiers {
		if err := in.usable(t, false); err != nil {
			unused = append(unused, sleep.Rung{Tier: t, Reason: err.Error()})
			continue
		}
		rungs = append(rungs, sleep.Rung{Tier: t})
	}
	return rungs, unused
}

// listed are those of the spec's list. The site is to sleep from its idle time
// on: where the node cannot do what is asked for it does the next best, and a
// replica of which no image can be made goes cold in its place.
func (in Input) listed() (rungs, unused []sleep.Rung) {
	idle := time.Duration(in.Spec.Idle.After)
	for i, r := range in.Spec.Tiers.Rungs {
		rung := sleep.Rung{Tier: detect.Tier(r.Tier), After: time.Duration(r.After)}
		if i == 0 && rung.After == 0 {
			rung.After = idle
		}
		err := in.usable(detect.Tier(r.Tier), true)
		if err == nil {
			rungs = append(rungs, rung)
			continue
		}
		unused = append(unused, sleep.Rung{Tier: rung.Tier, Reason: err.Error()})
		if rung.Tier == detect.TierReclaimed && !in.Spec.Tiers.Has(spec.TierFrozen) {
			rung.Tier = detect.TierFrozen
			rungs = append(rungs, rung)
		}
	}
	if last := in.Spec.Tiers.Rungs[len(in.Spec.Tiers.Rungs)-1]; last.Tier == spec.TierCheckpointed {
		rungs = append(rungs, sleep.Rung{Tier: detect.TierCold, After: time.Duration(last.After)})
	}
	if len(rungs) == 0 {
		rungs = append(rungs, sleep.Rung{Tier: detect.TierCold})
	}
	rungs[0].After = max(rungs[0].After, idle)
	return rungs, unused
}

// usable says why a tier cannot be used now.
func (in Input) usable(t detect.Tier, asked bool) error {
	if err := in.Can(t, asked); err != nil {
		return err
	}
	if x := in.Experience.Tiers[t]; x != nil && x.Until.After(in.Now) {
		return fmt.Errorf("given up until %s: %s", x.Until.Format(time.TimeOnly), x.Why)
	}
	return nil
}

// RungView is a rung for people and programs.
type RungView struct {
	Tier   detect.Tier       `json:"tier"`
	After  event.Nanoseconds `json:"afterNs,omitempty"`
	Wake   event.Nanoseconds `json:"wakeNs,omitempty"` // median of what wakes from there have added to the first answer
	Wakes  int               `json:"wakes,omitempty"`
	Reason string            `json:"reason,omitempty"` // why it is a rung, or is none
}

// View is the ladder with its figures, for people and programs.
func View(c sleep.Choice, x *Experience) []RungView {
	out := make([]RungView, 0, len(c.Rungs))
	for _, r := range c.Rungs {
		v := RungView{Tier: r.Tier, After: event.Nanoseconds(r.After), Reason: r.Reason}
		if t := x.Tiers[r.Tier]; t != nil {
			v.Wake, v.Wakes = event.Nanoseconds(t.median()), len(t.Wakes)
		}
		out = append(out, v)
	}
	return out
}

// Unused are the tiers that are no rungs, and why.
func Unused(c sleep.Choice) []RungView {
	out := make([]RungView, 0, len(c.Unused))
	for _, r := range c.Unused {
		out = append(out, RungView{Tier: r.Tier, Reason: r.Reason})
	}
	return out
}
