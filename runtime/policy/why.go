package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/detect/sleep"
)

// Asked is what is known of a site when somebody asks why it is where it is.
type Asked struct {
	Input
	Tier  detect.Tier
	Idle  time.Duration // 0: somebody is there
	Wakes []Wake        // that are remembered, in any order
}

// Wake is when somebody woke a site; invalid: nobody's packet did.
type Wake struct {
	At     time.Time
	Client netip.Addr
}

// Why is what the choice of a site's tiers rests on.
type Why struct {
	Pauses       int           // that are counted
	Median, Long time.Duration // half, and nine of ten, are no longer
	Comes        time.Duration // after which the next visitor is as likely to have come as not, from the last one on
	Alternatives []Alternative
	Usual        Usual
	Callers      []Caller // who comes by the clock
	Level        *LevelView
	Rise         *Rise // ahead of the next visit
}

// Usual is what most pauses are like; Share is 0 where most are like nothing.
type Usual struct {
	From, To time.Duration
	Share    float64
}

// Alternative is what one tier would cost for the pause that is expected.
type Alternative struct {
	Tier   detect.Tier
	Memory int64 // bytes held there
	Disk   int64
	Wake   time.Duration // median
	Wakes  int           // of so many; 0: it is assumed
	Hold   float64       // what holding costs until the next visitor, in the unit of prices
	Wait   time.Duration // of that visitor
	Cost   float64       // all of it
	Rung   bool          // the site sleeps there
	After  time.Duration // from this idle time on
	Unused string        // why it does not
}

// Caller is a source that wakes the site by the clock.
type Caller struct {
	Client        netip.Addr
	Every, Jitter time.Duration
	Wakes, Of     int // so many of the remembered ones
}

// Why explains the choice. It rests on the tables that plans are made with.
func (p *Plans) Why(a Asked) Why {
	s := a.Experience.Pauses()
	out := Why{Pauses: s.Pauses.Count(), Median: s.Pauses.Quantile(0.5), Long: s.Pauses.Quantile(0.9), Callers: callers(a.Wakes), Level: p.LevelOf(a.Input)}
	if from, to, share := s.Pauses.Usual(); share >= 0.6 {
		out.Usual = Usual{from, to, share}
	}
	p.mu.Lock()
	out.Comes = p.planner.Comes(s, a.Idle)
	p.mu.Unlock()
	choice := sleep.Choice{}
	if !a.Spec.Idle.Never {
		choice = a.Choose()
	}
	if r, ok := p.Rise(a.Input, a.Idle); ok {
		out.Rise = &r
	}
	options := a.options()
	p.mu.Lock()
	prices := p.pricesOf(a.Input)
	p.mu.Unlock()
	samples := map[detect.Tier]int{}
	for _, c := range a.Experience.costs() {
		samples[c.Tier] = c.Samples
	}
	for _, alt := range sleep.Alternatives(out.Comes, options, prices) {
		o := &options[alt.Option]
		v := Alternative{
			Tier: o.Tier, Memory: int64(o.Memory), Disk: int64(o.Disk), Wake: o.Wake, Wakes: samples[o.Tier],
			Hold: alt.Hold, Wait: alt.Wait, Cost: alt.Cost,
		}
		if i := slices.IndexFunc(choice.Rungs, func(r sleep.Rung) bool { return r.Tier == o.Tier }); i >= 0 {
			v.Rung, v.After = true, choice.Rungs[i].After
		} else if i := slices.IndexFunc(choice.Unused, func(r sleep.Rung) bool { return r.Tier == o.Tier }); i >= 0 {
			v.Unused = choice.Unused[i].Reason
		}
		out.Alternatives = append(out.Alternatives, v)
	}
	for _, r := range choice.Unused {
		if !slices.ContainsFunc(out.Alternatives, func(v Alternative) bool { return v.Tier == r.Tier }) {
			out.Alternatives = append(out.Alternatives, Alternative{Tier: r.Tier, Unused: r.Reason, Cost: -1})
		}
	}
	return out
}

// mostCallers bounds how many sources are named.
const mostCallers = 5

// callers are the sources that wake a site by the clock, the most frequent first.
func callers(wakes []Wake) (out []Caller) {
	by := map[netip.Addr][]time.Duration{}
	for _, w := range wakes {
		if w.Client.IsValid() {
			c := w.Client.Unmap()
			by[c] = append(by[c], since1970(w.At))
		}
	}
	for client, at := range by {
		slices.Sort(at)
		if clock, ok := sleep.ByTheClock(at); ok {
			out = append(out, Caller{client, clock.Every, clock.Jitter, len(at), len(wakes)})
		}
	}
	slices.SortFunc(out, func(a, b Caller) int {
		if a.Wakes != b.Wakes {
			return b.Wakes - a.Wakes
		}
		return a.Client.Compare(b.Client)
	})
	return out[:min(len(out), mostCallers)]
}

// String names a caller in words.
func (c Caller) String() string {
	return fmt.Sprintf("%s wakes it every %s ± %s (%d of its last %d wakes)", c.Client, inWords(c.Every), inWords(max(c.Jitter, time.Second)), c.Wakes, c.Of)
}

// inWords gives whole seconds up to ten minutes: monitors are set by these.
func inWords(d time.Duration) string {
	if d < 10*time.Minute {
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// Comes is how long a site that has been idle for a time is expected to stay so: half of such pauses are over sooner.
func (p *Plans) Comes(in Input, idle time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(0, p.planner.Comes(in.Experience.Pauses(), idle)-idle)
}

// StartPays says whether it costs less to start a site that is cold, with nobody there, and to have it on a tier until the next
// visitor comes, than to have him wait for its start.
func (p *Plans) StartPays(in Input, tier detect.Tier, comes time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	prices := p.pricesOf(in)
	costs := sleep.Alternatives(comes, []sleep.Option{in.option(detect.TierRunning), in.option(tier), in.option(detect.TierCold)}, prices)
	return costs[1].Cost+prices.CPU*in.Takes(detect.TierCold).Seconds() < costs[2].Cost
}
