package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
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
	Can        func(detect.Tier) error // whether the node can do it
	Now        time.Time
	Pressure   float64
	Plans      *Plans
}

// Choose makes the ladder: by a plan of what the site is to do in its next pause, unless
// the spec says when it sleeps.
func (in Input) Choose() sleep.Choice {
	if in.Spec.Planned() {
		return in.Plans.ladder(in)
	}
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

// ladder is the plan of a site as rungs: the way down that it is on now. What comes after a rise is a ladder of its own, as soon
// as it is time for that.
func (p *Plans) ladder(in Input) sleep.Choice {
	rungs, unused := in.allowed()
	out := sleep.Choice{Unused: unused}
	p.mu.Lock()
	defer p.mu.Unlock()
	options := p.use(in)
	var plans sleep.Plans
	p.plan(in, options, &plans)
	for _, step := range way(plans.Follow().Steps(nil), options, in.idle()) {
		o := &options[step.Option]
		r := sleep.Rung{Tier: o.Tier, After: p.after(in.Spec, step.After, o.Tier), Reason: "a wake takes " + figures(o.Wake).String()}
		if n := len(out.Rungs); n > 0 && out.Rungs[n-1].After >= r.After {
			out.Rungs = out.Rungs[:n-1]
		}
		out.Rungs = append(out.Rungs, r)
	}
	if len(out.Rungs) > 0 { // once, as it is the same for all
		out.Rungs[0].Reason = p.reason(in, plans.Follow().Rule) + "; " + out.Rungs[0].Reason
	}
	return in.complete(out, rungs, options)
}

// complete adds why tiers are not used; and where the site is to have an image at last,
// cold in its place, if none can be made.
func (in Input) complete(c sleep.Choice, rungs []sleep.Rung, options []sleep.Option) sleep.Choice {
	used := func(t detect.Tier) bool {
		return slices.ContainsFunc(c.Rungs, func(r sleep.Rung) bool { return r.Tier == t })
	}
	if n := len(c.Rungs); n > 0 && in.lastIsImage() && c.Rungs[n-1].Tier == detect.TierCheckpointed {
		c.Rungs = append(c.Rungs, sleep.Rung{Tier: detect.TierCold, After: c.Rungs[n-1].After, Reason: "if no image can be made"})
	}
	for _, r := range rungs {
		switch {
		case used(r.Tier):
		case !slices.ContainsFunc(options, func(o sleep.Option) bool { return o.Tier == r.Tier }):
			c.Unused = append(c.Unused, sleep.Rung{Tier: r.Tier, Reason: fmt.Sprintf("a wake may take longer than the %s that may be added", in.Spec.Objective.Wake)})
		default:
			c.Unused = append(c.Unused, sleep.Rung{Tier: r.Tier, Reason: "other tiers cost less at every moment of the pauses that are expected"})
		}
	}
	return c
}

// reason is what a plan rests on, in words.
func (p *Plans) reason(in Input, rule sleep.Rule) string {
	s := in.Experience.Pauses()
	what := "by the pauses of other sites"
	if n := s.Pauses.Count(); n > 0 {
		what = fmt.Sprintf("by %d of its pauses", n)
	}
	if rule == sleep.Careful {
		what = "with care, as a plan by its pauses may cost too much"
	}
	l := p.Classes.Of(in.Spec)
	whose := cmp.Or(l.Name, "its own objective")
	return fmt.Sprintf("%s, at the price of %s (%s GiB·s for a second of waiting)", what, whose, strconv.FormatFloat(p.pricesOf(in).Visit, 'g', 3, 64))
}

// after is when a rung is entered: a plan's moves are at the edges of classes of pauses,
// and the first of those stands for the end of the time in which the site stays awake in any
// case. Whoever's packet woke the site has wake.unused to say something before it goes to a
// tier on which his connection would be cut off.
func (p *Plans) after(s *spec.Site, after time.Duration, tier detect.Tier) time.Duration {
	l := linger(s)
	if b := sleep.Bucket(after + time.Microsecond); b == 0 || sleep.Edge(b-1) < l {
		after = l
	}
	if tier != detect.TierFrozen && tier != detect.TierReclaimed {
		after = max(after, p.unused)
	}
	unit := 100 * time.Millisecond
	if after >= time.Minute {
		unit = time.Second
	}
	return (after + unit - 1).Truncate(unit)
}

// figures rounds a duration for people.
func figures(d time.Duration) time.Duration {
	if d >= 100*time.Millisecond {
		return d.Round(10 * time.Millisecond)
	}
	return d.Round(100 * time.Microsecond)
}

// lastIsImage says that a list ends in an image of the processes.
func (in Input) lastIsImage() bool {
	r := in.Spec.Tiers.Rungs
	return len(r) > 0 && r[len(r)-1].Tier == spec.TierCheckpointed
}

// allowed are the tiers that may be used, and why others may not.
func (in Input) allowed() (rungs, unused []sleep.Rung) {
	if !in.Spec.Tiers.Auto {
		return in.listed()
	}
	for _, t := range detect.Tiers {
		if err := in.usable(t); err != nil {
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
		err := in.usable(detect.Tier(r.Tier))
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
	if in.lastIsImage() && !(in.Spec.Planned() && in.usable(detect.TierCheckpointed) == nil) {
		last := in.Spec.Tiers.Rungs[len(in.Spec.Tiers.Rungs)-1]
		rungs = append(rungs, sleep.Rung{Tier: detect.TierCold, After: time.Duration(last.After)})
	}
	if len(rungs) == 0 {
		rungs = append(rungs, sleep.Rung{Tier: detect.TierCold})
	}
	rungs[0].After = max(rungs[0].After, idle)
	return rungs, unused
}

// usable says why a tier cannot be used now.
func (in Input) usable(t detect.Tier) error {
	if err := in.Can(t); err != nil {
		return err
	}
	if x := in.Experience.Tiers[t]; x != nil && x.Until.After(in.Now) {
		return fmt.Errorf("given up until %s: %s", x.Until.Format(time.TimeOnly), x.Why)
	}
	return nil
}

// Holds is what the site holds on a tier, measured or assumed, in bytes.
func (in Input) Holds(t detect.Tier) float64 { return in.option(t).Memory }

// Takes is what a wake from a tier adds to the first answer, measured or assumed.
func (in Input) Takes(t detect.Tier) time.Duration { return in.option(t).Wake }

// option is what a tier costs the site, whether it may be there or not.
func (in Input) option(t detect.Tier) sleep.Option {
	for _, o := range sleep.Options(in.Experience.costs(), func(detect.Tier) bool { return true }, 0) {
		if o.Tier == t {
			return o
		}
	}
	return sleep.Option{Tier: t}
}

// worthEvicting is how much of its memory a replica has to give back that is sent away.
const worthEvicting = 0.2

// Deeper is where a replica goes that is on a tier, holds so many bytes and is to give
// them back: reclaimed if that does it, else from where it wakes soonest; and what it holds
// there. Of a list only its tiers may be.
func (in Input) Deeper(than detect.Tier, holds float64) (tier detect.Tier, then float64, ok bool) {
	var best sleep.Option
	for _, o := range in.options() {
		if o.Tier.Depth() <= than.Depth() || o.Tier == detect.TierFrozen || o.Memory > (1-worthEvicting)*holds {
			continue
		}
		if o.Tier == detect.TierReclaimed {
			return o.Tier, o.Memory, true
		}
		if !ok || o.Wake < best.Wake {
			best, ok = o, true
		}
	}
	return best.Tier, best.Memory, ok
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
