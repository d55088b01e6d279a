package life

import (
	"strings"
	"time"

	"github.com/fcnode/fcnode/detect/sleep"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/policy"
	"github.com/fcnode/fcnode/runtime/spec"
)

// choose makes the ladder of what the spec allows, of what the node can do, and
// of what the site's wakes have cost; nil: nothing is known of that. Then no plan is
// made, as somebody waits: the site's record is being read, and brings its ladder.
func (h *Host) choose(s *spec.Site, x *policy.Experience) sleep.Choice {
	switch {
	case s.Idle.Never, x == nil && s.Planned():
		return sleep.Choice{}
	case x == nil:
		x = policy.NewExperience()
	}
	return h.Input(s, x).Choose()
}

// Input is what choices for a site rest on.
func (h *Host) Input(s *spec.Site, x *policy.Experience) policy.Input {
	return policy.Input{Spec: s, Experience: x, Can: h.Means.Can, Now: time.Now(), Pressure: h.Means.Pressure(), Plans: h.Plans}
}

// ladderTold is how long after one change of a site's ladder the next is told.
const ladderTold = time.Hour

// tellLadder puts a ladder that has changed into the event log, with its figures.
func (l *Live) tellLadder() {
	a := l.Activity
	if !a.Spec.Tiers.Auto {
		return // it is the spec's
	}
	c := l.Host.choose(a.Spec, a.experience)
	var tiers []string
	for _, r := range c.Rungs {
		tiers = append(tiers, string(r.Tier))
	}
	now := strings.Join(tiers, " ")
	// Its tiers change with the price, too: what is told is not each time that they do.
	if now == a.experience.Ladder || a.experience.Ladder != "" && time.Since(a.experience.Told) < ladderTold {
		return
	}
	a.experience.Ladder, a.experience.Told = now, time.Now()
	l.Host.Tell(event.Event{
		Site: l.Name, Kind: event.Ladder, Reason: c.String(),
		Fields: map[string]any{"ladder": policy.View(c, a.experience), "unused": policy.Unused(c)},
	})
}

// WhatWasLearnt of a live site.
func (a *Activity) WhatWasLearnt() *policy.Experience { return a.experience }
