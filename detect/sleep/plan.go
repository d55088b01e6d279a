package sleep

import (
	"time"

	"github.com/fcnode/fcnode/detect"
)

// Rule is what a plan may do.
type Rule uint8

// The rules, the more daring the later.
const (
	// Careful is ski-rental: deeper when the tier has cost as much as the
	// next one would have. It needs no knowledge, and costs at most twice
	// what hindsight would.
	Careful Rule = iota
	// OneWay goes deeper when that is worth it by the site's own pauses.
	OneWay
	// TwoWay also wakes ahead of a visit.
	TwoWay
)

// String is the rule in words.
func (r Rule) String() string {
	switch r {
	case OneWay:
		return "by its pauses"
	case TwoWay:
		return "by its pauses, awake ahead of visits"
	default:
		return "with care"
	}
}

// Plan is where a site is to be while it is idle: an option for each bucket of
// the pause. It is a value without pointers; Options in the same order as it was
// made with give it its meaning.
type Plan struct {
	at   [Buckets]uint8 // the option
	Rule Rule
}

// Step is a move of a plan: so long after the last activity, go there.
type Step struct {
	After  time.Duration
	Option int // in the options that the plan was made with
}

// At is the option for a site that has been idle for so long.
func (p *Plan) At(idle time.Duration) int {
	b := Bucket(idle)
	if b < 0 {
		return 0
	}
	return int(p.at[b])
}

// Steps appends the moves of the plan, the first of them away from running.
func (p *Plan) Steps(to []Step) []Step {
	now := 0
	for b, i := range p.at {
		if int(i) != now {
			now = int(i)
			to = append(to, Step{After: Edge(b), Option: now})
		}
	}
	return to
}

// Next is the first move after an idle time, if there is one.
func (p *Plan) Next(idle time.Duration) (Step, bool) {
	b := max(0, Bucket(idle))
	now := p.At(idle)
	if Bucket(idle) < 0 && p.at[0] != 0 {
		return Step{After: Edge(0), Option: int(p.at[0])}, true
	}
	for ; b < Buckets; b++ {
		if int(p.at[b]) != now {
			return Step{After: Edge(b), Option: int(p.at[b])}, true
		}
	}
	return Step{}, false
}

// Tier is the tier of one of the plan's options.
func (s Step) Tier(options []Option) detect.Tier { return options[s.Option].Tier }

// cost is what a plan costs for a pause of so many seconds that ended in a
// visit.
func (t *table) cost(p *Plan, pause float64) float64 {
	sum, now := t.hold[0]*min(pause, shortest), uint8(0)
	for b := 0; b < Buckets && pause >= edges[b]; b++ {
		to := t.row[p.at[b]]
		sum += t.move[now][to]
		now = to
		if pause < edges[b+1] || b == Buckets-1 {
			return sum + t.hold[now]*(pause-edges[b]) + t.wake[b][now]
		}
		sum += t.hold[now] * (edges[b+1] - edges[b])
	}
	return sum
}

// overspend is the most that a plan may cost beyond so many times what hindsight
// pays, over all pauses. Ski-rental has none to speak of.
func (t *table) overspend(p *Plan, times float64) float64 {
	worst := 0.0
	sum, now := t.hold[0]*shortest, uint8(0)
	for b := range Buckets {
		to := t.row[p.at[b]]
		sum += t.move[now][to]
		now = to
		// Hindsight grows with the pause, and so does the plan's cost within a
		// bucket: the worst is at one of its ends.
		worst = max(worst, sum+t.wake[b][now]-times*t.known[b])
		sum += t.hold[now] * (edges[b+1] - edges[b])
		worst = max(worst, sum+t.wake[b][now]-times*t.known[b+1])
	}
	return worst
}

// carefully is the plan of ski-rental.
func (t *table) carefully(linger int) Plan {
	p := Plan{Rule: Careful}
	for b := linger; b < Buckets; b++ {
		p.at[b] = t.option[t.careful[b]]
	}
	return p
}

// odds are the chances of a pause to end in each bucket, and to reach it.
type odds struct {
	mass  [Buckets]float64
	reach [Buckets + 1]float64
}

// What keeps a site's own pauses from being taken for the whole truth.
const (
	priorWeight = 1.0  // pauses that the node's pool weighs
	doubt       = 0.03 // of it all: anything may happen
	spread      = 0.1  // of a count belongs to its neighbours
)

// load makes chances of what a site has seen and what the node knows.
func (o *odds) load(own *Pauses, pool *Pool) {
	total := priorWeight
	for _, c := range own {
		total += float64(c)
	}
	for b := range Buckets {
		near := (1 - spread) * float64(own[b])
		if b > 0 {
			near += spread / 2 * float64(own[b-1])
		} else {
			near += spread / 2 * float64(own[b])
		}
		if b < Buckets-1 {
			near += spread / 2 * float64(own[b+1])
		} else {
			near += spread / 2 * float64(own[b])
		}
		prior := pool.share(b)
		o.mass[b] = (1-doubt)*(near+priorWeight*prior)/total + doubt*prior
	}
	o.reach[Buckets] = 0
	for b := Buckets - 1; b >= 0; b-- {
		o.reach[b] = o.reach[b+1] + o.mass[b]
	}
}

// solve is the plan of least expected cost, found backwards over the buckets:
//
//	W(b,i) = hold_i·∫S + wake_i·m_b + V(b+1,i)
//	V(b,from) = min over to of W(b,to) + move(from→to)·S_b
//
// One way only deeper tiers may follow, and none above that of ski-rental at half
// the idle time: so it is never awake for longer than twice as long as a rule
// would be that knows nothing.
func (t *table) solve(o *odds, rule Rule, linger int) Plan {
	var choice [Buckets][mostOptions]uint8
	var value, stay [mostOptions]float64
	n := t.n
	for b := Buckets - 1; b >= 0; b-- {
		spent := (edges[b+1] - edges[b]) * (o.reach[b+1] + o.mass[b]/2)
		mass, reach := o.mass[b], o.reach[b]
		wake := &t.wake[b]
		for i := range n {
			stay[i] = t.hold[i]*spent + wake[i]*mass + value[i]
		}
		least := 0
		if rule == OneWay && b >= octave {
			least = int(t.careful[b-octave])
		}
		for from := range n {
			first := least
			if rule == OneWay {
				first = max(least, from)
			}
			move := &t.move[from]
			best, cost := first, stay[first]+move[first]*reach
			for to := first + 1; to < n; to++ {
				if c := stay[to] + move[to]*reach; c < cost {
					best, cost = to, c
				}
			}
			choice[b][from], value[from] = uint8(best), cost
		}
		if b < linger { // it stays where it is: running
			value[0], choice[b][0] = stay[0], 0
		}
	}
	p := Plan{Rule: rule}
	now := uint8(0)
	for b := range Buckets {
		now = choice[b][now]
		p.at[b] = t.option[now]
	}
	return p
}

// octave is how many buckets double a pause.
const octave = 4
