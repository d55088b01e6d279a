package model

import (
	"math"
	"slices"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/detect/sleep"
)

// The rules that package sleep's plans are compared with.

// optionOf is the option of a tier, or -1.
func optionOf(options []sleep.Option, t detect.Tier) int {
	return slices.IndexFunc(options, func(o sleep.Option) bool { return o.Tier == t })
}

// FixedTimeout parks every site on one option after a time.
type FixedTimeout struct {
	After  float64
	Option int
}

// Idle implements Sleeper.
func (r FixedTimeout) Idle(_ int, _, _ float64, n *Night) {
	n.Moves = append(n.Moves, Move{max(quiet, r.After), r.Option})
}

// Woke implements Sleeper.
func (FixedTimeout) Woke(int, float64, float64, Met) {}

// Hybrid is the hybrid histogram policy of Shahrad et al. (USENIX ATC 2020): a
// histogram of each site's pauses by the minute over four hours; parked until shortly
// before its head (p5), then awake until shortly after its tail; where the pauses say
// little, a fixed timeout.
type Hybrid struct {
	Option   int
	Tail     float64 // quantile, as 0.99
	Fallback float64 // seconds
	sites    map[int]*hybridSite
}

const (
	hybridBins    = 240
	hybridEnough  = 10
	hybridSpread  = 2.0 // least coefficient of variation of the bins' counts
	hybridOutside = 0.5 // most of the pauses beyond the histogram
)

type hybridSite struct {
	bins           [hybridBins]uint32
	total, outside float64
}

// Idle implements Sleeper.
func (r *Hybrid) Idle(site int, _, _ float64, n *Night) {
	h := r.sites[site]
	if h == nil || !h.says() {
		n.Moves = append(n.Moves, Move{max(quiet, r.Fallback), r.Option})
		return
	}
	head, tail := 0.9*60*float64(h.quantile(0.05)), 1.1*60*float64(h.quantile(r.Tail)+1)
	if head >= 60 {
		n.Moves = append(n.Moves, Move{quiet, r.Option}, Move{head, 0})
	}
	n.Moves = append(n.Moves, Move{max(quiet, tail), r.Option})
}

// Woke implements Sleeper.
func (r *Hybrid) Woke(site int, _, pause float64, _ Met) {
	if r.sites == nil {
		r.sites = map[int]*hybridSite{}
	}
	h := r.sites[site]
	if h == nil {
		h = &hybridSite{}
		r.sites[site] = h
	}
	h.total++
	if bin := int(pause / 60); bin < hybridBins {
		h.bins[bin]++
	} else {
		h.outside++
	}
}

func (h *hybridSite) says() bool {
	if h.total < hybridEnough || h.outside > hybridOutside*h.total {
		return false
	}
	mean := (h.total - h.outside) / hybridBins
	var square float64
	for _, c := range h.bins {
		square += (float64(c) - mean) * (float64(c) - mean)
	}
	return math.Sqrt(square/hybridBins) >= hybridSpread*mean
}

func (h *hybridSite) quantile(q float64) int {
	want, sum := q*(h.total-h.outside), 0.0
	for i, c := range h.bins {
		if sum += float64(c); sum >= want {
			return i
		}
	}
	return hybridBins - 1
}

// Auto is fcnode's rule before it planned: sleep.Ladder with the idle timeout steered
// for each site to a share of cold requests.
type Auto struct {
	Costs []sleep.TierCost
	Share float64
	// Options are those of the fleet.
	Options []sleep.Option
	sites   map[int]*autoSite
}

type autoSite struct {
	visitors sleep.Visitors
	moves    []Move
	asked    int
	woke     float64
	came     uint64
}

// Idle implements Sleeper.
func (r *Auto) Idle(site int, at, _ float64, n *Night) {
	if r.sites == nil {
		r.sites = map[int]*autoSite{}
	}
	s := r.sites[site]
	if s == nil {
		s = &autoSite{woke: at}
		r.sites[site] = s
	}
	if s.asked++; s.asked < 20 || s.asked%8 == 0 {
		in := sleep.LadderInput{Costs: r.Costs, Objective: sleep.Objective{Cold: r.Share}, Allowed: []sleep.Rung{}}
		for _, o := range r.Options[1:] {
			in.Allowed = append(in.Allowed, sleep.Rung{Tier: o.Tier})
		}
		s.visitors.Tell(&in)
		s.moves = s.moves[:0]
		for _, rung := range sleep.Ladder(in).Rungs {
			s.moves = append(s.moves, Move{max(quiet, rung.After.Seconds()), optionOf(r.Options, rung.Tier)})
		}
	}
	n.Moves = append(n.Moves, s.moves...)
}

// Woke implements Sleeper.
func (r *Auto) Woke(site int, at, _ float64, met Met) {
	s := r.sites[site]
	s.came += uint64(met.Requests)
	if met.Wait <= 0 {
		return
	}
	asleep := uint64(0)
	if met.Wait > sleep.Noticeable {
		asleep = 1
	}
	s.visitors.Observe(s.came, asleep, time.Duration((at-s.woke)*1e9), r.Share)
	s.came, s.woke = 0, at
}

// SkiRental is the deterministic rule at one price.
type SkiRental struct {
	moves []Move
}

// NewSkiRental makes it for a table of options.
func NewSkiRental(options []sleep.Option, prices sleep.Prices) *SkiRental {
	// By the second, not by buckets: a baseline is not to lose by them.
	r := &SkiRental{}
	once := func(i int) float64 {
		o := &options[i]
		w := o.Wake.Seconds()
		return prices.Visit*sleep.Harm(o.Wake) + prices.CPU*(w+o.Enter.Seconds()) + prices.Write*o.Writes/(1<<30)
	}
	for now, at := 0, quiet; ; {
		best, when := -1, math.Inf(1)
		for i := now + 1; i < len(options); i++ {
			if save := holding(&options[now]) - holding(&options[i]); save > 0 {
				from := 0.0
				if now > 0 {
					from = once(now)
				}
				if t := max(at, (once(i)-from)/save); t < when || t == when && i > best {
					best, when = i, t
				}
			}
		}
		if best < 0 {
			return r
		}
		r.moves = append(r.moves, Move{when, best})
		now, at = best, when
	}
}

// Idle implements Sleeper.
func (r *SkiRental) Idle(_ int, _, _ float64, n *Night) { n.Moves = append(n.Moves, r.moves...) }

// Woke implements Sleeper.
func (*SkiRental) Woke(int, float64, float64, Met) {}

// ParkingOracle knows how long each pause will be, and may only park: at once, on the
// best tier for it.
type ParkingOracle struct {
	Options []sleep.Option
	Prices  sleep.Prices
}

// Idle implements Sleeper.
func (r *ParkingOracle) Idle(_ int, _, pause float64, n *Night) {
	best, least := 0, math.Inf(1)
	for i := range r.Options {
		o := &r.Options[i]
		cost := holding(o) * min(pause, 1e9)
		if i > 0 {
			w := wakeTime(o, pause)
			cost += r.Prices.CPU*o.Enter.Seconds() + r.Prices.Write*o.Writes/(1<<30)
			if !math.IsInf(pause, 1) {
				cost += r.Prices.Visit*sleep.Harm(time.Duration(w*1e9)) + r.Prices.CPU*w
			}
		}
		if cost < least {
			best, least = i, cost
		}
	}
	if best > 0 {
		n.Moves = append(n.Moves, Move{0, best})
	}
}

// Woke implements Sleeper.
func (*ParkingOracle) Woke(int, float64, float64, Met) {}

// Planned is package sleep's rule, as a node applies it.
type Planned struct {
	Options []sleep.Option
	Prices  sleep.Prices // Visit is the price, unless Share steers it
	Share   float64      // of requests that may be late; 0: the price stays
	// Only, if not nil, is the one rule that may be used.
	Only *sleep.Rule

	// Cascades, if not nil, has sites woken beside those that they follow.
	Cascades *sleep.Cascades

	Planner sleep.Planner
	Price   sleep.Price
	states  []sleep.State
	plans   []sleep.Plans
	used    float64
	seen    float64
	steps   []sleep.Step
}

// NewPlanned makes it for so many sites.
func NewPlanned(options []sleep.Option, prices sleep.Prices, share float64, sites int) *Planned {
	return &Planned{Options: options, Prices: prices, Share: share, Price: sleep.Price{V: prices.Visit}, states: make([]sleep.State, sites), plans: make([]sleep.Plans, sites)}
}

// use makes the price of now the planner's; the table is made anew when it has moved.
func (r *Planned) use() {
	v := r.Prices.Visit
	if r.Share > 0 {
		v = r.Price.Visit()
	}
	if math.Abs(v-r.used) > 0.02*r.used {
		p := r.Prices
		p.Visit = v
		r.Planner.Use(r.Options, p)
		r.used = v
	}
}

// Idle implements Sleeper.
func (r *Planned) Idle(site int, _, _ float64, n *Night) {
	r.use()
	plans := &r.plans[site]
	r.Planner.Plan(&r.states[site], plans)
	plan := plans.Follow()
	if r.Only != nil {
		plan = plans.By(*r.Only)
	}
	r.steps = plan.Steps(r.steps[:0])
	for _, s := range r.steps {
		n.Moves = append(n.Moves, Move{s.After.Seconds(), s.Option})
	}
}

// Woke implements Sleeper.
func (r *Planned) Woke(site int, at, pause float64, met Met) {
	r.use()
	r.Planner.Ended(&r.states[site], &r.plans[site], time.Duration(min(pause, 1e9)*1e9))
	if r.Share > 0 {
		r.Price.Observe(time.Duration((at-r.seen)*1e9), uint64(met.Requests), uint64(met.Late), r.Share, false)
		r.seen = at
	}
}

// Woken implements Beside: those that have no processes are woken, as a node can wake no others.
func (r *Planned) Woken(site int, now float64, slept bool, at func(site int) int) (out []int) {
	if r.Cascades == nil {
		return nil
	}
	r.use()
	t := time.Duration(now * 1e9)
	number := func(site int) uint32 { return uint32(site) + 1 }
	if !slept {
		r.Cascades.Came(number(site), t)
		return nil
	}
	for _, b := range r.Cascades.Woke(number(site), t) {
		other := int(b.Site) - 1
		option := at(other)
		if option == 0 || r.Options[option].Memory > 0 {
			continue
		}
		p := r.Prices
		p.Visit = r.used
		saved, needless := sleep.BesideCosts(r.Options[0], r.Options[option], p, b.Lag)
		if r.Cascades.Try(number(site), b, t, saved, needless) {
			out = append(out, other)
		}
	}
	return out
}

// States are what the sites have taught.
func (r *Planned) States() []sleep.State { return r.states }
