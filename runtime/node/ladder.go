package node

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/detect/sleep"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// ladder is what the site's machine climbs down. The caller holds e.mu.
func (n *Node) ladder(e *entry, s *spec.Site) []site.Rung {
	var out []site.Rung
	for _, r := range n.choose(e, s).Rungs {
		out = append(out, site.Rung{Tier: site.Tier(r.Tier), After: r.After})
	}
	return out
}

// choose makes the ladder of what the spec allows, of what the node can do, and
// of what the site's wakes have cost. The caller holds e.mu.
func (n *Node) choose(e *entry, s *spec.Site) sleep.Choice {
	if s.Idle.Never {
		return sleep.Choice{}
	}
	x := newExperience()
	if e.active != nil && e.active.experience != nil {
		x = e.active.experience
	}
	in := ladderInput{spec: s, experience: x, can: n.can, now: time.Now(), pressure: n.pressure()}
	return in.choose()
}

// ladderInput is what the choice rests on.
type ladderInput struct {
	spec       *spec.Site
	experience *experience
	can        func(t site.Tier, asked bool) error // whether the node can do it
	now        time.Time
	pressure   float64
}

func (in ladderInput) choose() sleep.Choice {
	rungs, unused := in.allowed()
	if len(rungs) == 0 {
		return sleep.Choice{Unused: unused}
	}
	input := sleep.LadderInput{
		Costs:     in.experience.costs(),
		Objective: sleep.Objective{Cold: in.spec.Objective.Cold.Share(), Wake: time.Duration(in.spec.Objective.Wake)},
		Allowed:   rungs, Idle: time.Duration(in.spec.Idle.After), Pressure: in.pressure,
	}
	if input.Objective.Cold > 0 {
		in.experience.Visitors.Tell(&input)
	}
	c := sleep.Ladder(input)
	c.Unused = append(c.Unused, unused...)
	return c
}

// allowed are the tiers that may be used, and why others may not.
func (in ladderInput) allowed() (rungs, unused []sleep.Rung) {
	if !in.spec.Tiers.Auto {
		return in.listed()
	}
	for _, t := range detect.Tiers {
		if err := in.usable(site.Tier(t), false); err != nil {
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
func (in ladderInput) listed() (rungs, unused []sleep.Rung) {
	idle := time.Duration(in.spec.Idle.After)
	has := func(t string) bool {
		return slices.ContainsFunc(in.spec.Tiers.Rungs, func(r spec.Rung) bool { return r.Tier == t })
	}
	for i, r := range in.spec.Tiers.Rungs {
		rung := sleep.Rung{Tier: detect.Tier(r.Tier), After: time.Duration(r.After)}
		if i == 0 && rung.After == 0 {
			rung.After = idle
		}
		err := in.usable(site.Tier(r.Tier), true)
		if err == nil {
			rungs = append(rungs, rung)
			continue
		}
		unused = append(unused, sleep.Rung{Tier: rung.Tier, Reason: err.Error()})
		if rung.Tier == detect.TierReclaimed && !has(spec.TierFrozen) {
			rung.Tier = detect.TierFrozen
			rungs = append(rungs, rung)
		}
	}
	if last := in.spec.Tiers.Rungs[len(in.spec.Tiers.Rungs)-1]; last.Tier == spec.TierCheckpointed {
		rungs = append(rungs, sleep.Rung{Tier: detect.TierCold, After: time.Duration(last.After)})
	}
	if len(rungs) == 0 {
		rungs = append(rungs, sleep.Rung{Tier: detect.TierCold})
	}
	rungs[0].After = max(rungs[0].After, idle)
	return rungs, unused
}

// usable says why a tier cannot be used now.
func (in ladderInput) usable(t site.Tier, asked bool) error {
	if err := in.can(t, asked); err != nil {
		return err
	}
	if x := in.experience.Tiers[t]; x != nil && x.Until.After(in.now) {
		return fmt.Errorf("given up until %s: %s", x.Until.Format(time.TimeOnly), x.Why)
	}
	return nil
}

// can says why this node cannot do a tier.
func (n *Node) can(t site.Tier, asked bool) error {
	switch {
	case t == site.TierReclaimed:
		return n.canReclaim(asked)
	case t == site.TierCheckpointed:
		return n.canCheckpoint()
	case t == site.TierPrepared && n.cfg.Prepared.Max == 0:
		return errors.New("the configuration allows none (prepared.max)")
	}
	return nil
}

func (n *Node) canReclaim(asked bool) error {
	if !n.parent.Has("memory") {
		return errors.New("this machine has no memory controller of cgroup v2")
	}
	m, err := n.memory.read()
	if err != nil {
		return err
	}
	below := n.cfg.Reclaim.Below
	switch {
	case m.swap.Size == 0 && !n.cfg.Reclaim.WithoutSwap:
		return errors.New(m.swap.String())
	case !asked && !m.short(below.Share()):
		return fmt.Errorf("nobody needs its memory: %.0f%% of the node's is available (reclaim.below %s)",
			100*float64(m.available)/float64(m.total), below)
	}
	return nil
}

// pressure on the node's memory.
func (n *Node) pressure() float64 {
	m, err := n.memory.read()
	if err != nil {
		return 1
	}
	return m.pressure(n.cfg.Reclaim.Below.Share())
}

// tellLadder puts a ladder that has changed into the journal, with its figures.
// The caller holds e.mu.
func (n *Node) tellLadder(e *entry) {
	a := e.active
	if !a.spec.Tiers.Auto {
		return // it is the spec's
	}
	c := n.choose(e, a.spec)
	var tiers []string
	for _, r := range c.Rungs {
		tiers = append(tiers, string(r.Tier))
	}
	now := strings.Join(tiers, " ")
	if now == a.experience.Ladder {
		return
	}
	a.experience.Ladder = now
	n.journalEvent(api.Event{
		Site: e.name, Kind: "ladder", Reason: strings.Join(tiers, ", "), Text: c.String(),
		Fields: map[string]any{"ladder": ladderView(c, a.experience), "unused": unusedView(c)},
	})
}

// ladderView is the ladder with its figures, for people and programs.
func ladderView(c sleep.Choice, x *experience) []api.Rung {
	out := make([]api.Rung, 0, len(c.Rungs))
	for _, r := range c.Rungs {
		v := api.Rung{Tier: api.Tier(r.Tier), After: api.Nanoseconds(r.After), Reason: r.Reason}
		if t := x.Tiers[site.Tier(r.Tier)]; t != nil {
			v.Wake, v.Wakes = api.Nanoseconds(t.median()), len(t.Wakes)
		}
		out = append(out, v)
	}
	return out
}

func unusedView(c sleep.Choice) []api.Rung {
	out := make([]api.Rung, 0, len(c.Unused))
	for _, r := range c.Unused {
		out = append(out, api.Rung{Tier: api.Tier(r.Tier), Reason: r.Reason})
	}
	return out
}

// fillLadder shows how the site sleeps. It reads what a parked site has taught
// from its file.
func (n *Node) fillLadder(e *entry, v *api.Site) {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := (*experience)(nil)
	if e.active != nil {
		x = e.active.experience
	}
	if x == nil {
		x = n.loadExperience(e.name)
	}
	if v.Spec.Idle.Never {
		return
	}
	c := ladderInput{spec: v.Spec, experience: x, can: n.can, now: time.Now(), pressure: n.pressure()}.choose()
	v.Ladder, v.LadderUnused = ladderView(c, x), unusedView(c)
}

// apiTier is a tier as people see it.
func apiTier(t site.Tier) api.Tier {
	if t == site.TierRunning {
		return api.TierRunning
	}
	return api.Tier(t)
}
