package policy

import (
	"fmt"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/spec"
)

// A spec is written for any node, so what this one cannot do of it refuses nothing: the site gets the next best. Whoever
// applies it is told, as nothing else would until the day on which it is missed.

// Unmet says what a spec asks for by name and the node cannot do, and why.
func Unmet(s *spec.Site, can func(detect.Tier) error) []string {
	var out []string
	for _, r := range s.Tiers.Rungs {
		if err := can(detect.Tier(r.Tier)); err != nil {
			out = append(out, fmt.Sprintf("tiers: %s is not used: %v", r.Tier, err))
		}
	}
	if why := NoSpare(s, can); why != "" {
		out = append(out, "scale.spare: "+why)
	}
	return out
}

// NoSpare says why the spare replicas that a spec asks for are not kept; empty: they are, or it asks for none.
func NoSpare(s *spec.Site, can func(detect.Tier) error) string {
	tier := detect.Tier(s.Scale.Spare.Tier)
	if s.Scale.Spare.Count == 0 || tier != detect.TierPrepared {
		return "" // nothing but itself is needed for a frozen one
	}
	if err := can(tier); err != nil {
		return fmt.Sprintf("no replica is kept %s: %v", tier, err)
	}
	return ""
}

// Unprepared counts the sites on disk that ask for prepared replicas of a node that allows none: the configuration may be
// another than when they were applied.
type Unprepared struct {
	Sites   int
	Example string
}

// Add counts a site.
func (u *Unprepared) Add(s *spec.Site, can func(detect.Tier) error) {
	for _, r := range s.Tiers.Rungs {
		if r.Tier == spec.TierPrepared && can(detect.TierPrepared) != nil {
			u.note(s.Name)
			return
		}
	}
	if NoSpare(s, can) != "" {
		u.note(s.Name)
	}
}

func (u *Unprepared) note(name string) {
	if u.Sites == 0 {
		u.Example = name
	}
	u.Sites++
}
