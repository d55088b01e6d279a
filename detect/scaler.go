package detect

import (
	"fmt"
	"math"
	"time"

	"github.com/fcnode/fcnode/detect/internal/figure"
)

// Targets are what a site asks of each replica. Zero fields ask for nothing.
type Targets struct {
	Conns   float64       // connections at the same time
	Latency time.Duration // to the first byte, p99
}

// Scaler decides for one site, in its order: limits are raised in place before
// replicas are added, since that is done within a millisecond; both are given back only when
// they were not needed for as long as their cost demands. What it decides counts as done, but it goes
// by the limits and replicas that the next signals show: an action that failed is
// decided again.
//
// How often it may act has a bound that no noise can break, see MaxActions.
type Scaler struct {
	Targets Targets
	Costs   ActionCosts
	Policy  LimitsPolicy

	limits  [3]limitState // in the order of resources
	rates   []limitState  // of Signals.IO
	flow    flow
	answers answers

	lastOut, lastIn time.Duration
	everOut, everIn bool
	need            peak
	patience        int           // how often replicas were given back too soon
	bad             time.Duration // since when answers are slow, or the CPU is used up
	badKnown        bool
	// The p99 at the last Out for its sake: if more replicas do not help, even more will not.
	slow     time.Duration
	slowEach float64 // connections a replica then
}

// limitState is what is remembered of a limit.
type limitState struct {
	peak     peak
	changed  time.Duration
	ever     bool
	lowered  bool // the last change was downwards
	patience int  // how often it was lowered too soon
}

// mostPatience bounds how often a hold doubles.
const mostPatience = 6

// raised notes a change upwards; one that comes soon after a change downwards says
// that this one was wrong.
func (l *limitState) raised(at, window time.Duration) {
	if l.lowered && at-l.changed < window {
		l.patience = min(l.patience+1, mostPatience)
	}
	*l = limitState{changed: at, ever: true, patience: l.patience}
}

// lower notes a change downwards; when the limit was of use for long, the next one may
// be sooner again.
func (l *limitState) lower(at, window time.Duration) {
	if !l.lowered && at-l.changed > 4*window {
		l.patience = max(0, l.patience-1)
	}
	*l = limitState{changed: at, ever: true, lowered: true, patience: l.patience}
}

// NewScaler decides for a site with these targets. Costs may be changed at any time.
func NewScaler(t Targets, c ActionCosts) *Scaler { return &Scaler{Targets: t, Costs: c} }

var resources = [3]ResourceName{Memory, Pids, CPU} // what kills first comes first; the disk's rates come last

// of returns one resource of the signals.
func (s *Signals) of(r ResourceName, part int) *Resource {
	switch r {
	case Memory:
		return &s.Memory
	case Pids:
		return &s.Pids
	case IO:
		return &s.IO[part]
	default:
		return &s.CPU
	}
}

// slot is one limit that can move.
type slot struct {
	name ResourceName
	part int
	r    *Resource
	st   *limitState
}

// slots are all limits of the signals.
func (s *Scaler) slots(sig *Signals) []slot {
	for len(s.rates) < len(sig.IO) {
		s.rates = append(s.rates, limitState{})
	}
	out := make([]slot, 0, len(resources)+len(sig.IO))
	for i, name := range resources {
		out = append(out, slot{name: name, r: sig.of(name, 0), st: &s.limits[i]})
	}
	for i := range sig.IO {
		out = append(out, slot{name: IO, part: i, r: &sig.IO[i], st: &s.rates[i]})
	}
	return out
}

// Burst notes that the limits were set to the most while the site sleeps. What was used before says nothing of what
// who wakes it will need: nothing is taken back before it was seen for a full hold.
func (s *Scaler) Burst() {
	for i := range s.limits {
		s.limits[i].peak.reset()
	}
	for i := range s.rates {
		s.rates[i].peak.reset()
	}
}

// replicas now, at least one: a site without any is for the ladder, not for the Scaler.
func (s *Signals) replicas() int { return max(1, s.Replicas.Now, len(s.Conns)) }

func (s *Signals) conns() (total float64) {
	for _, c := range s.Conns {
		total += float64(c)
	}
	return total
}

// Decide is asked at each trigger of the kernel and at each look, about once a second,
// with times that do not go back. It gives one decision; when that is carried out,
// ask again at once, until it is None.
func (s *Scaler) Decide(at time.Duration, sig Signals) Decision {
	s.flow.observe(at, &sig)
	s.answers.observe(at, &sig, s.Targets.Latency)
	none := Decision{Kind: None}
	for _, f := range []func(time.Duration, *Signals) Decision{s.raise, s.out, s.in, s.lower} {
		d := f(at, &sig)
		if d.Kind != None {
			return d
		}
		if d.Reason != "" || d.Again > 0 {
			none = d
		}
	}
	return none
}

// visibleAfter is how long an action needs to show in the signals.
func visibleAfter(sig *Signals, cost time.Duration) time.Duration {
	return max(2*cost, min(max(2*sig.Latency.P50, 20*time.Millisecond), time.Second))
}

// raise looks for a limit that is met.
func (s *Scaler) raise(at time.Duration, sig *Signals) Decision {
	for _, l := range s.slots(sig) {
		r := l.r
		if !r.Limit.known() || l.st.ever && at-l.st.changed < visibleAfter(sig, s.Costs.complete().Limit) {
			continue
		}
		reason, evidence, need := lacking(l.name, r)
		low, _ := r.Limit.Bounds()
		if r.Limit.Now < low {
			reason, need = "below what the spec promises", low
		}
		if reason == "" {
			continue
		}
		if sig.Alarm != 0 {
			need = max(need, r.Limit.Now*min(sig.Alarm.Ratio(), 4))
		}
		if to := s.Policy.Raise(r.Limit, need); to > r.Limit.Now*1.001 {
			return s.up(at, l, to, reason, evidence)
		}
	}
	return Decision{Kind: None}
}

// up decides to raise a limit.
func (s *Scaler) up(at time.Duration, l slot, to float64, reason string, evidence []Evidence) Decision {
	l.st.raised(at, s.limitHold(l))
	return Decision{Kind: Up, Resource: l.name, Part: l.part, From: l.r.Limit.Now, To: to, Reason: reason, Evidence: evidence}
}

// What says that a limit is met.
const (
	shortThrottled = 0.05 // share of throttled periods
	shortMemory    = 0.9  // used of the limit
	shortPids      = 0.8
	stallCPU       = 0.4 // PSI: others on the node make a task wait too
	stallMemory    = 0.1
	// Meeting the limit by reading files is no need: the kernel drops others in no time.
	hitMemory = 0.01
	stallIO   = 0.2
	fullIO    = 0.9 // used of the limit, as io.stat tells
)

// lacking says in words why a resource is short, or nothing; and how much of it is needed.
func lacking(name ResourceName, r *Resource) (string, []Evidence, float64) {
	now, used := r.Limit.Now, figure.Positive(r.Used)
	say := func(what string, value, limit, need float64) (string, []Evidence, float64) {
		return what, []Evidence{{Name: what, Value: value, Limit: limit}}, need
	}
	switch name {
	case Memory:
		switch {
		case r.Hits > 0 && r.Stall > hitMemory:
			return say("memory limit met (memory.events)", r.Hits, 0, used*memoryRoom)
		case used > shortMemory*now:
			return say("memory in use over nine tenths of the limit", used, now, used*memoryRoom)
		case r.Stall > stallMemory && used > now/2:
			return say("tasks wait for memory (PSI)", r.Stall, stallMemory, used*memoryRoom)
		}
	case Pids:
		switch {
		case r.Hits > 0:
			return say("forks refused (pids.events)", r.Hits, 0, used*headroom)
		case used > shortPids*now:
			return say("tasks near the limit", used, now, used*headroom)
		}
	case CPU:
		switch {
		case r.Hits > shortThrottled:
			return say("CPU throttled", r.Hits, shortThrottled, used*headroom)
		case used > fullCPU*now:
			return say("CPU used up to its limit", used, now, used*headroom)
		case r.Stall > stallCPU && used > now/2:
			return say("tasks wait for the CPU (PSI)", r.Stall, stallCPU, used*headroom)
		}
	case IO:
		switch {
		// What is beyond the limit for a moment is what it let through at once, not what is needed.
		case used > fullIO*now:
			return say(r.Name+" used up to its limit", used, now, min(used, now)*headroom)
		case r.Stall > stallIO && used > now/2:
			return say("tasks wait for the disk (PSI), "+r.Name, r.Stall, stallIO, used*headroom)
		}
	}
	return "", nil, 0
}

// lower gives back what was not needed.
func (s *Scaler) lower(at time.Duration, sig *Signals) Decision {
	for _, l := range s.slots(sig) {
		r := l.r
		if !r.Limit.known() {
			continue
		}
		window := s.limitHold(l)
		used := figure.Positive(r.Used)
		if lack, _, _ := lacking(l.name, r); lack != "" || l.name == IO && r.Stall > stallIO/4 {
			used = max(used, r.Limit.Now)
		}
		top, full := l.st.peak.add(at, window, used)
		_, high := r.Limit.Bounds()
		if over := s.Policy.Fit(r.Limit, inUse(l)); r.Limit.Now > high && over < 0.999*r.Limit.Now {
			return s.down(at, l, over, "the node has less to give", high)
		}
		room := headroom
		if l.name == Memory {
			room = memoryRoom
		}
		to, worth := s.Policy.Lower(r.Limit, top, room)
		if full && worth {
			return s.down(at, l, to, fmt.Sprintf("not needed for %s", figure.Duration(window)), top)
		}
	}
	return Decision{Kind: None}
}

// inUse is what a budget that is short leaves a site in any case. A disk's rate it does not: nothing like
// cpu.weight divides a disk, so that one who came first would keep it from all others.
func inUse(l slot) float64 {
	if l.name == IO {
		return 0
	}
	return l.r.Used
}

func (s *Scaler) down(at time.Duration, l slot, to float64, reason string, against float64) Decision {
	l.st.lower(at, s.limitHold(l))
	return Decision{
		Kind: Down, Resource: l.name, Part: l.part, From: l.r.Limit.Now, To: to, Reason: reason,
		Evidence: []Evidence{{Name: "most in use", Value: against, Limit: l.r.Limit.Now}},
	}
}

// reclaimCost is what taking back a GiB of memory takes.
const reclaimCost = time.Second

// limitHold is for how long a limit must have been unneeded. Each time that it was
// lowered too soon doubles it.
func (s *Scaler) limitHold(l slot) time.Duration {
	cost := 2 * s.Costs.complete().Limit
	if l.name == Memory {
		// Rounded to powers of two, so that the window does not change with every page.
		cost += figure.Seconds(math.Exp2(math.Ceil(math.Log2(max(1, l.r.Limit.Now)))) / figure.GiB * reclaimCost.Seconds())
	}
	return min(hold(cost)<<l.st.patience, maxHold)
}
