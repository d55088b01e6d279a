package spec

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
)

const (
	maxReplicas = 15
	maxConns    = 1000000
	maxWarm     = 1000000
	minCold     = Percent(0.01)
	maxJitter   = Percent(50)
	minLatency  = Duration(time.Millisecond)
	maxLatency  = Duration(10 * time.Minute)
)

// scale checks the number of replicas and what they are measured by.
func (c checker) scale(s Scale) {
	if s.Max < 1 || s.Max > maxReplicas {
		c.bad("scale.max", "1 to 15", "%d replicas", s.Max)
	}
	switch {
	case s.Min < 0 || s.Min > maxReplicas:
		c.bad("scale.min", "0 (asleep when idle) up to scale.max", "%d replicas", s.Min)
	case s.Min > s.Max:
		c.bad("scale.min", "min up to max", "%d is more than scale.max, %d", s.Min, s.Max)
	}
	if n := s.Target.Conns; n < 0 || n > maxConns {
		c.bad("scale.target.conns", "1 to 1000000", "%d is out of range", n)
	}
	c.between("scale.target.latency", s.Target.Latency, minLatency, maxLatency)
	c.spare(s)
}

// between checks a duration that may be left out.
func (c checker) between(path string, d, low, high Duration) {
	if d != 0 && (d < low || d > high) {
		c.bad(path, fmt.Sprintf("%s to %s", low, high), "%s is out of range", d)
	}
}

// tiers checks how deep the site sleeps: each rung deeper and later than the one before it.
func (c checker) tiers(s *Site) {
	rungs := s.Tiers.Rungs
	switch {
	case s.Tiers.Auto && len(rungs) > 0:
		c.bad("tiers", tiersAllowed, "are chosen by the node and listed")
		return
	case s.Tiers.Auto:
		return
	case len(rungs) == 0:
		c.bad("tiers", tiersAllowed, "are none; for a site that never sleeps write idle: never")
		return
	case s.Idle.Never:
		c.bad("tiers", "auto, or another idle", "have no effect: with idle: never the site does not sleep")
		return
	}
	deepest, latest := -1, Duration(0)
	for i, r := range rungs {
		at := fmt.Sprintf("tiers[%d]", i)
		depth := slices.Index(tierNames, r.Tier)
		named := at + ".tier"
		switch {
		case depth < 0:
			hint := ""
			if guess := strictyaml.Suggest(r.Tier, tierNames); guess != "" {
				hint = "; did you mean " + guess + "?"
			}
			c.bad(named, strings.Join(tierNames, ", "), "%q is not a tier to sleep in%s", r.Tier, hint)
			continue
		case depth == deepest:
			c.bad(named, "each tier once", "%s stands in the list twice", r.Tier)
		case depth < deepest:
			c.bad(named, "in order of depth: "+strings.Join(tierNames, ", "), "%s is less deep than %s before it", r.Tier, tierNames[deepest])
		}
		deepest = max(depth, deepest)
		switch {
		case r.After == 0:
		case r.After < minIdle || r.After > maxIdle:
			c.bad(at+".after", "1s to 8784h", "%s is out of range", r.After)
		case r.After <= latest:
			c.bad(at+".after", "each later than the one before it", "%s is not more than %s before it", r.After, latest)
		}
		latest = max(r.After, latest)
	}
	if first := s.Tiers.first(); first != 0 && s.Idle.After != first {
		c.bad("idle", "the same as tiers[0].after, or one of the two", "%s is not %s, when the site enters its first tier", s.Idle, first)
	}
}

// renewal checks the service level, the lifetime, and how replicas are replaced and dumped.
func (c checker) renewal(s *Site) {
	if o := s.Objective.Cold; o != 0 && !(o >= minCold && o <= 100) {
		c.bad("objective.cold", "0.01% to 100%", "%s is out of range", o)
	}
	c.between("objective.wake", s.Objective.Wake, minLatency, maxLatency)
	c.level(s)
	c.between("lifetime.after", s.Lifetime.After, minLifetime, maxIdle)
	c.between("lifetime.within", s.Lifetime.Within, minWithin, maxIdle)
	if s.Lifetime.After != 0 && s.Lifetime.Within != 0 {
		c.bad("lifetime.within", "one of after and within", "the node cannot choose when with lifetime.after")
	}
	switch j := s.Lifetime.Jitter; {
	case !(j >= 0 && j <= maxJitter):
		c.bad("lifetime.jitter", "0% to 50%", "%s is out of range", j)
	case s.Lifetime.After == 0 && s.Lifetime.Within == 0 && j != defaultLifetime.Jitter:
		c.bad("lifetime.jitter", "lifetime.after or lifetime.within with it", "%s has no effect: the lifetime never ends", j)
	}
	if d := s.Circulate.Drain; d < 0 || d > maxGrace {
		c.bad("circulate.drain", "0s to 1h", "%s is out of range", d)
	}
	if w := s.Checkpoint.Warm; w < 0 || w > maxWarm {
		c.bad("checkpoint.warm", "0 to 1000000", "%d is out of range", w)
	}
}

// The range of what a service level may be.
const (
	MinLate = minCold
	MaxLate = Percent(50)
	MinOver = coldOver
	MaxOver = maxLatency
)

// level checks the service level: the class's, or one of the site's own, said once.
func (c checker) level(s *Site) {
	if s.Class != "" && !labelForm.MatchString(s.Class) {
		c.bad("class", labelAllowed, "%q is not the name of a class", s.Class)
	}
	o := s.Objective
	if l := o.Late; l != 0 && !(l >= MinLate && l <= MaxLate) {
		c.bad("objective.late", fmt.Sprintf("%s to %s", MinLate, MaxLate), "%s is out of range", l)
	}
	c.between("objective.over", o.Over, MinOver, MaxOver)
	switch {
	case o.Late != 0 && o.Cold != 0:
		c.bad("objective.cold", "one of cold and late", "is late by another name, with over: %s", coldOver)
	case o.Over != 0 && o.Late == 0:
		c.bad("objective.over", "late with it", "%s has no effect without late", o.Over)
	case s.Class != "" && (o.Late != 0 || o.Cold != 0):
		c.bad("class", "a class, or an objective of the site's own", "%s says what objective says, too", s.Class)
	}
}
