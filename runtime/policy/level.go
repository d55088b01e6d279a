package policy

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/fcnode/fcnode/detect/sleep"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/spec"
)

// Classes are the service levels of a node, by their names. There is a standard one.
type Classes map[string]sleep.Class

// NewClasses are those of a configuration.
func NewClasses(of map[string]config.Class) Classes {
	out := Classes{config.StandardClass: {Late: spec.DefaultLate.Share(), Over: time.Duration(spec.DefaultOver)}}
	for name, c := range of {
		out[name] = sleep.Class{Late: c.Late.Share(), Over: time.Duration(c.Over), Each: c.Each.Share()}
	}
	return out
}

// Level is the service level of a site.
type Level struct {
	sleep.Class
	Name    string // of the class; empty: it is the site's own
	Missing string // the class that the spec names, where the configuration has none of that name
}

// Of is the level that a spec asks for. A site whose class the configuration does not
// have (any more) has the standard one.
func (c Classes) Of(s *spec.Site) Level {
	if late, over := s.Objective.Own(); late > 0 {
		return Level{Class: sleep.Class{Late: late.Share(), Over: time.Duration(over)}}
	}
	if s.Class == "" {
		return Level{Class: c[config.StandardClass], Name: config.StandardClass}
	}
	if class, ok := c[s.Class]; ok {
		return Level{Class: class, Name: s.Class}
	}
	return Level{Class: c[config.StandardClass], Name: config.StandardClass, Missing: s.Class}
}

// Names are those of all classes, in order.
func (c Classes) Names() []string { return slices.Sorted(maps.Keys(c)) }

// Unknown says that a spec names a class that the configuration does not have, and
// which there are.
func (c Classes) Unknown(s *spec.Site) error {
	if l := c.Of(s); l.Missing != "" {
		return fmt.Errorf("the configuration has no class %q, only %s; classes are added there", l.Missing, strings.Join(c.Names(), ", "))
	}
	return nil
}

// Admit says whether a site can be held to its class's bound for each site, by how
// often it was visited. One that has been known for less than a day is taken: what it
// will be is not known, and refusing it could never be put right by its visits.
func (l Level) Admit(in Input) error {
	v := in.Experience.Visitors
	if l.Each <= 0 || v.Seconds < day.Seconds() {
		return nil
	}
	return l.Class.Admit(v.Requests/v.Seconds*day.Seconds(), in.options()[0])
}

const day = 24 * time.Hour

// Costs says what a service level of a site's own costs, and which one changes nothing,
// in words for whoever applies it.
func Costs(s *spec.Site) []string {
	field := ""
	late, over := s.Objective.Own()
	switch {
	case s.Objective.Cold != 0:
		field = "objective.cold"
	case late != 0:
		field = "objective.late"
	case s.Class != "":
		field = "class"
	}
	switch {
	case field == "", !s.Planned() && s.Objective.Cold != 0 && !s.Idle.Never: // the times that a list leaves out go by that
		return nil
	case !s.Planned():
		return []string{field + ": changes nothing: the spec says itself when the site sleeps (idle, tiers)"}
	case late == 0:
		return nil
	}
	return []string{fmt.Sprintf("%s: %s of this site's own requests may wait for over %s. With fewer than %.0f requests between two pauses that takes hardly ever sleeping; "+
		"a class bounds the share over all its sites, which holds far less memory (fcnode plan %s shows how much each share takes)", field, late, over, math.Ceil(1/late.Share()), s.Name)}
}

// Steered is the price of a second of waiting, and what it is steered by.
type Steered struct {
	sleep.Price
	At       time.Time `json:"at"`             // it has taken all into account that came until then
	Waiting  uint64    `json:"late,omitempty"` // late ones whose requests are not counted yet
	Lately   float64   `json:"lately"`         // late, of Price.Day
	Requests uint64    `json:"requests"`       // ever
	Late     uint64    `json:"everLate"`
}

// observe takes requests of a level into account. A wake may be over before or after
// its request is counted, so late ones wait for theirs.
func (s *Steered) observe(at time.Time, requests, late uint64, share float64, bound bool) {
	s.Waiting += late
	late = min(s.Waiting, requests)
	s.Waiting -= late
	since := time.Duration(0)
	if !s.At.IsZero() {
		since = max(0, at.Sub(s.At))
	}
	s.At = at
	s.Lately = s.Lately*math.Exp(-since.Hours()/24) + float64(late)
	s.Observe(since, requests, late, share, bound)
	s.Requests += requests
	s.Late += late
}

// sane says whether it can have been written by a daemon.
func (s *Steered) sane() error {
	for name, v := range map[string]float64{"v": s.V, "seen": s.Seen, "day": s.Day, "part": s.Part, "lately": s.Lately} {
		if !(v >= 0 && v <= math.MaxInt64) {
			return fmt.Errorf("its %s is %v", name, v)
		}
	}
	return nil
}

// Share is what part of the requests was late lately, by about a day, of how many; 0
// if there were none.
func (s *Steered) Share() (late, of float64) {
	if s.Day < 1 {
		return 0, s.Day
	}
	return min(1, s.Lately/s.Day), s.Day
}
