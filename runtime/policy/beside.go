package policy

import (
	"cmp"
	"slices"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/detect/sleep"
)

// Woke takes into account that somebody's packet woke a site, and gives those whose visits follow its wakes, and not by chance.
// A site is its number here.
func (p *Plans) Woke(site uint32, at time.Time) []sleep.Beside {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cascades.Woke(site, since1970(at))
}

// Came takes into account that a visit to a site began after a pause.
func (p *Plans) Came(site uint32, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cascades.Came(site, since1970(at))
}

// Beside says whether a site that sleeps on a tier is to be woken beside one that it follows: if it has paid, at the price of waiting of
// its class. What comes of it counts in any case.
func (p *Plans) Beside(leads uint32, b sleep.Beside, in Input, tier detect.Tier, at time.Time) bool {
	if !p.ahead || in.Spec.Idle.Never || !in.Spec.Planned() {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	saved, needless := sleep.BesideCosts(in.option(detect.TierRunning), in.option(tier), p.pricesOf(in), b.Lag)
	return p.cascades.Try(leads, b, since1970(at), saved, needless)
}

// Followed is a site whose wakes visits to another follow.
type Followed struct {
	sleep.Beside      // Site is the one that is followed
	Woken        bool // the other is woken beside it
}

// Follows are the sites that a site follows, the most frequent first.
func (p *Plans) Follows(site uint32) (out []Followed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pairs, woken := p.cascades.Of(site)
	for leads, b := range pairs {
		b.Site = leads
		out = append(out, Followed{b, p.ahead && woken[leads]})
	}
	slices.SortFunc(out, func(a, b Followed) int { return cmp.Or(cmp.Compare(b.Came, a.Came), cmp.Compare(a.Site, b.Site)) })
	return out
}
