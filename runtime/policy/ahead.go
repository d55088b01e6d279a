package policy

import (
	"math"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/detect/sleep"
)

// Rise is that a site's plan has it wake ahead of a visit: from an idle time on it is to be on a tier, until another one, from which
// on it sleeps deeper again.
type Rise struct {
	Tier         detect.Tier
	After, Until time.Duration
}

// Rise is the next one of a site that has been idle for a time, or the one that it is in; false: its plan has none, as most.
func (p *Plans) Rise(in Input, idle time.Duration) (Rise, bool) {
	if !p.ahead || in.Spec.Idle.Never || !in.Spec.Planned() {
		return Rise{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	options := p.use(in)
	var plans sleep.Plans
	p.plan(in, options, &plans)
	steps := plans.Follow().Steps(nil)
	for i, s := range steps {
		if i == 0 || !up(steps, i, options) {
			continue
		}
		r := Rise{Tier: s.Tier(options), After: s.After, Until: math.MaxInt64}
		for j := i + 1; j < len(steps) && r.Until == math.MaxInt64; j++ {
			if !processes(steps[j].Tier(options)) {
				r.Until = steps[j].After
			}
		}
		if idle < r.Until {
			return r, true
		}
	}
	return Rise{}, false
}

// plan makes the plans of the site that the planner was readied for. One that goes up is followed where the node can do what it asks
// for: it wakes sites that have no processes. Those that have are a moment away from running, and only a visitor brings
// memory back that was pushed out.
func (p *Plans) plan(in Input, options []sleep.Option, to *sleep.Plans) {
	s := in.Experience.Pauses()
	p.planner.Down = !p.ahead
	p.planner.Plan(s, to)
	if to.Follow().Rule != sleep.TwoWay {
		return
	}
	steps := to.Follow().Steps(nil)
	for i := 1; i < len(steps); i++ {
		if up(steps, i, options) && (processes(steps[i-1].Tier(options)) || steps[i].Tier(options) == detect.TierPrepared) {
			p.planner.Down = true
			p.planner.Plan(s, to)
			return
		}
	}
}

// way is the part of a plan that goes down only and that a site is on after an idle time.
func way(steps []sleep.Step, options []sleep.Option, idle time.Duration) []sleep.Step {
	first := 0
	for i := 1; i < len(steps); i++ {
		if !up(steps, i, options) {
			continue
		}
		if steps[i].After > idle {
			return steps[first:i]
		}
		first = i
		if steps[i].Option == 0 {
			first++ // it is awake until then
		}
	}
	return steps[first:]
}

// up says whether a step goes up.
func up(steps []sleep.Step, i int, options []sleep.Option) bool {
	return steps[i].Tier(options).Depth() < steps[i-1].Tier(options).Depth()
}

// processes says whether a site has some on a tier.
func processes(t detect.Tier) bool { return t.Depth() <= detect.TierReclaimed.Depth() }

// idle is for how long nobody was there, as far as is known.
func (in Input) idle() time.Duration {
	if s := in.Experience.State; s != nil && s.Last > 0 {
		return max(0, since1970(in.Now)-s.Last)
	}
	return 0
}

// Idle is since when, and for how long, nobody was at a site; false: nobody ever was.
func (in Input) Idle() (time.Duration, bool) {
	s := in.Experience.State
	return in.idle(), s != nil && s.Last > 0
}
