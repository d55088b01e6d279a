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
// of what the site's wakes have cost; nil: nothing is known of that.
func (h *Host) choose(s *spec.Site, x *policy.Experience) sleep.Choice {
	if s.Idle.Never {
		return sleep.Choice{}
	}
	if x == nil {
		x = policy.NewExperience()
	}
	return h.Input(s, x).Choose()
}

// Input is what choices for a site rest on.
func (h *Host) Input(s *spec.Site, x *policy.Experience) policy.Input {
	return policy.Input{Spec: s, Experience: x, Can: h.Means.Can, Now: time.Now(), Pressure: h.Means.Pressure()}
}

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
	if now == a.experience.Ladder {
		return
	}
	a.experience.Ladder = now
	l.Host.Tell(event.Event{
		Site: l.Name, Kind: event.Ladder, Reason: c.String(),
		Fields: map[string]any{"ladder": policy.View(c, a.experience), "unused": policy.Unused(c)},
	})
}

// WhatWasLearnt of the site: of a parked one it is read from its file.
func (l *Live) WhatWasLearnt() *policy.Experience {
	if l.Activity != nil && l.experience != nil {
		return l.experience
	}
	return l.Host.loadExperience(l.Name)
}
