package sleep

import (
	"time"

	"github.com/fcnode/fcnode/detect/internal/figure"
)

// Planner makes the plans of sites that share a node. It has scratch space, so
// that a plan allocates nothing, and is not for several goroutines at a time.
type Planner struct {
	// Pool is what all sites of the node have taught.
	Pool Pool
	// Linger is for how long a site stays awake in any case; 0: two seconds.
	Linger time.Duration
	// Down keeps sites from being woken ahead: no plan is followed that goes up. What
	// that would have saved is still known.
	Down bool

	table table
	odds  odds
}

const (
	// trust is how many times what hindsight pays the plans of a site may cost
	// in the long run (Purohit, Svitkina, Kumar 2018: 1 + 1/λ for a λ of a half,
	// by which a site is awake for no longer than twice its time).
	trust = 3
	// grace is how many wakes from its deepest tier a site may cost beyond that.
	grace = 3
	// bank is how many such wakes a site can have saved up for bad times.
	bank = 30
)

// Use sets what the tiers of the site that comes next may be and cost.
func (p *Planner) Use(options []Option, prices Prices) { p.table.load(options, prices) }

func (p *Planner) linger() int {
	if p.Linger <= 0 {
		return 0
	}
	n := 0
	for n < Buckets-1 && Edge(n) < p.Linger {
		n++
	}
	return n
}

// Plans are what each rule would have a site do in one pause. A value without
// pointers, to be kept until the pause ends.
type Plans struct {
	OneWay, TwoWay, Careful Plan
	follow                  Rule
}

// Follow is the plan to carry out.
func (p *Plans) Follow() *Plan { return p.By(p.follow) }

// By is the plan of one rule.
func (p *Plans) By(rule Rule) *Plan {
	switch rule {
	case OneWay:
		return &p.OneWay
	case TwoWay:
		return &p.TwoWay
	default:
		return &p.Careful
	}
}

// Plan is what a site should do that has just become idle: what is best by its own
// pauses, waking it ahead of a visit only when that has paid for it, and with care
// while plans have cost it too much.
func (p *Planner) Plan(s *State, to *Plans) {
	linger := p.linger()
	p.odds.load(&s.Pauses, &p.Pool)
	to.OneWay = p.table.solve(&p.odds, OneWay, linger)
	to.TwoWay = p.table.solve(&p.odds, TwoWay, linger)
	to.Careful = p.table.carefully(linger)
	to.follow = OneWay
	if s.Ahead.Surely() && !p.Down {
		to.follow = TwoWay
	}
	if float64(s.Debt)+p.table.overspend(to.Follow(), trust) > grace*p.dear() {
		to.follow = Careful
	}
}

// dear is what a wake from the deepest tier costs.
func (p *Planner) dear() float64 {
	t := &p.table
	return t.once(t.n-1, Buckets-1)
}

// Cost is what a plan costs for a pause that ends in a visit, at the prices of now.
func (p *Planner) Cost(plan *Plan, pause time.Duration) float64 {
	return p.table.cost(plan, pause.Seconds())
}

// Hindsight is what the best tier costs for a pause that is known beforehand.
func (p *Planner) Hindsight(pause time.Duration) float64 { return p.table.hindsight(pause.Seconds()) }

// Ended takes a pause into account that has ended in a visit. Both rules are
// priced for it though one was followed, so that no site needs to try what does it
// no good. It reports whether the pause counts.
func (p *Planner) Ended(s *State, plans *Plans, pause time.Duration) bool {
	if Bucket(pause) < 0 {
		return false
	}
	s.Ahead.Add(p.Cost(&plans.OneWay, pause) - p.Cost(&plans.TwoWay, pause))
	s.owe(p.Cost(plans.Follow(), pause)-trust*p.Hindsight(pause), bank*p.dear())
	p.Pool.Add(pause, s.Pauses.Count())
	return s.Pauses.Add(pause)
}

// owe adds to the debt, of which a site can have so much in advance.
func (s *State) owe(more, most float64) {
	s.Debt = clampFloat(max(float64(s.Debt)+more, -most))
}

// Comes is after how long, from the last activity on, the next visitor is as likely to
// have come as not, of a site that has been idle for a time.
func (p *Planner) Comes(s *State, idle time.Duration) time.Duration {
	p.odds.load(&s.Pauses, &p.Pool)
	from := max(idle.Seconds(), shortest)
	first := bucketOf(from)
	share := func(b int) float64 { // of the bucket that is still to come
		return p.odds.mass[b] * max(0, edges[b+1]-max(edges[b], from)) / (edges[b+1] - edges[b])
	}
	left := 0.0
	for b := first; b < Buckets; b++ {
		left += share(b)
	}
	half := left / 2
	for b := first; b < Buckets; b++ {
		if m := share(b); half <= m && m > 0 {
			low := max(edges[b], from)
			return figure.Seconds(low + (edges[b+1]-low)*half/m)
		}
		half -= share(b)
	}
	return figure.Seconds(from)
}

// Alternative is what it costs when a site is on one tier for a whole pause.
type Alternative struct {
	Option int           // of the options
	Hold   float64       // what holding costs, in the unit of prices
	Wait   time.Duration // of the visitor who ends the pause
	Cost   float64       // all of it: going there, holding, waiting
}

// Alternatives are those of a pause that ends in a visit, one for each option. One that
// plans never choose is among them, too: that is what is to be seen.
func Alternatives(pause time.Duration, options []Option, prices Prices) []Alternative {
	out := make([]Alternative, len(options))
	for i := range options {
		o := &options[i]
		a := Alternative{Option: i, Hold: pause.Seconds() * prices.holdOption(o)}
		a.Cost = a.Hold
		if i > 0 {
			w := o.wakeAfter(pause.Seconds())
			a.Wait = figure.Seconds(w)
			a.Cost += prices.Visit*harm(w) + prices.CPU*(w+o.Enter.Seconds()) + prices.Write*o.Writes/figure.GiB
		}
		out[i] = a
	}
	return out
}
