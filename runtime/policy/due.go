package policy

import (
	"math/rand/v2"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/site"
)

// Every is how often the ladders of sites that are awake, or sleep lightly, are chosen
// anew. What they rest on changes without anything happening to the site: a tier that
// was given up may be tried again, the node's memory becomes short.
const Every = 15 * time.Second

// Due is when a replica that sleeps on a tier, or is awake, is to go on, if it is to. Many may be
// overdue by the same change; they do not all go at once.
func Due(ladder []site.Rung, at detect.Tier, idle time.Duration) (time.Duration, bool) {
	for _, r := range ladder {
		if r.Tier.Depth() <= at.Depth() {
			continue
		}
		if idle < r.After {
			return r.After - idle, true
		}
		return rand.N(1 + min(Every, r.After)), true //nolint:gosec // nothing secret about it
	}
	return 0, false
}
