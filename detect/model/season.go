package model

import (
	"math"
	"time"

	"github.com/fcnode/fcnode/detect/sleep"
)

// weekHours are the most that a season can tell apart.
const weekHours = 168

// season is the operational time of a node: it runs as fast as visits came in the same hour of
// the weeks before, and as fast as the clock on average.
type season struct {
	hours      int                // of its cycle: a day's or a week's
	came, seen [weekHours]float64 // visits in each hour of the cycle, and hours, fading with each cycle
	speed      [weekHours]float64
	before     [weekHours + 1]float64 // op-time from the cycle's beginning to each hour
	last       float64                // until when hours are seen
	table      float64                // when the speeds were made
}

const (
	seasonFade  = 21.0    // days, after which an hour counts for a third
	seasonPrior = 20.0    // visits at the mean, which weigh as much as what was seen
	seasonEvery = 86400.0 // seconds until speeds are made anew: what is planned has to mean the same for a while
	seasonMost  = 6.0     // times as fast or as slow as the clock
)

func (s *season) hourOf(at float64) int { return int(at/3600) % s.hours }

// visit counts one; visits come in the order of time.
func (s *season) visit(at float64) {
	for next := math.Floor(s.last/3600+1) * 3600; next <= at; next += 3600 {
		h, keep := s.hourOf(next), math.Exp(-float64(s.hours)/24/seasonFade)
		s.came[h] *= keep
		s.seen[h] = s.seen[h]*keep + 1
		s.last = next
	}
	h := s.hourOf(at)
	s.seen[h] = max(s.seen[h], 1)
	s.came[h]++
	if s.before[s.hours] == 0 || at-s.table > seasonEvery {
		s.table = at
		s.make()
	}
}

func (s *season) make() {
	var came, seen float64
	for h := range s.hours {
		came, seen = came+s.came[h], seen+s.seen[h]
	}
	mean, sum := came/max(seen, 1), 0.0
	for h := range s.hours {
		s.speed[h] = min(max((s.came[h]+seasonPrior)/(mean*s.seen[h]+seasonPrior), 1/seasonMost), seasonMost)
		sum += s.speed[h]
	}
	for h := range s.hours {
		s.speed[h] *= float64(s.hours) / sum
		s.before[h+1] = s.before[h] + 3600*s.speed[h]
	}
}

// at is the op-time of a moment.
func (s *season) at(t float64) float64 {
	cycle := 3600 * float64(s.hours)
	passed := math.Floor(t/cycle) * cycle
	t -= passed
	h := min(int(t/3600), s.hours-1)
	return passed + s.before[h] + (t-3600*float64(h))*s.speed[h]
}

// until is after how many seconds from a moment on so much op-time has passed.
func (s *season) until(from, op float64) float64 {
	now := from
	const most = 60 * 86400
	for op > 0 && now-from < most {
		end := math.Floor(now/3600+1) * 3600
		speed := s.speed[s.hourOf(now)]
		if op <= (end-now)*speed {
			return now + op/speed - from
		}
		op -= (end - now) * speed
		now = end
	}
	return now - from
}

// Seasonal is Planned that also counts and plans pauses in operational time, and follows those
// plans at the sites at which a paired test says that they cost less. It is twice the state.
type Seasonal struct {
	Planned
	clock  season
	by     sleep.Planner // op-time's: it has a pool of its own
	states []sleep.State
	plans  []sleep.Plans
	test   []sleep.Paired
	begin  []float64 // of each site's pause
	speed  []float64 // of op-time then
	// Followed is how many pauses were planned by op-time, of All.
	Followed, All int
}

// NewSeasonal makes it for so many sites, with a season of so many hours: 24 or 168.
func NewSeasonal(options []sleep.Option, prices sleep.Prices, share float64, sites, hours int) *Seasonal {
	return &Seasonal{
		clock:   season{hours: hours},
		Planned: *NewPlanned(options, prices, share, sites), states: make([]sleep.State, sites), plans: make([]sleep.Plans, sites),
		test: make([]sleep.Paired, sites), begin: make([]float64, sites), speed: make([]float64, sites),
	}
}

// ready prepares the planner for a site: a second of op-time holds memory for as long as it lasts
// by the clock, at the speed with which its pause began.
func (r *Seasonal) ready(site int) {
	r.use()
	p := r.Prices
	p.Visit = r.Planned.used
	memory := p.Memory
	if memory == 0 {
		memory = 1
	}
	p.Memory, p.Disk = memory/r.speed[site], p.Disk/r.speed[site]
	r.by.Use(r.Options, p)
}

// Idle implements Sleeper.
func (r *Seasonal) Idle(site int, at, pause float64, n *Night) {
	r.Planned.Idle(site, at, pause, n)
	if r.clock.before[r.clock.hours] == 0 {
		r.clock.make()
	}
	r.begin[site], r.speed[site] = at, r.clock.speed[r.clock.hourOf(at)]
	r.ready(site)
	r.by.Plan(&r.states[site], &r.plans[site])
	r.All++
	if r.test[site].Surely() {
		r.Followed++
		n.Moves = r.moves(site, n.Moves[:0])
	}
}

// moves are those of the plan in op-time, by the clock.
func (r *Seasonal) moves(site int, to []Move) []Move {
	r.steps = r.plans[site].Follow().Steps(r.steps[:0])
	for _, s := range r.steps {
		after := r.clock.until(r.begin[site], s.After.Seconds())
		to = append(to, Move{max(quiet, after), s.Option})
	}
	return to
}

// Woke implements Sleeper.
func (r *Seasonal) Woke(site int, at, pause float64, met Met) {
	r.ready(site)
	var own [16]Move
	plain := own[:0]
	for _, s := range r.Planned.plans[site].Follow().Steps(nil) {
		plain = append(plain, Move{s.After.Seconds(), s.Option})
	}
	a, b := r.price(plain, pause), r.price(r.moves(site, nil), pause)
	if math.Abs(a-b) < 1e-6*a {
		b = a // but for rounding
	}
	r.test[site].Add(a - b)
	op := r.clock.at(at) - r.clock.at(at-pause)
	r.by.Ended(&r.states[site], &r.plans[site], time.Duration(min(max(op, 0), 1e9)*1e9))
	r.Planned.Woke(site, at, pause, met)
	r.clock.visit(at)
}

// price is what moves have cost in a pause that has ended.
func (r *Seasonal) price(moves []Move, pause float64) float64 {
	p := r.Prices
	p.Visit = r.Planned.used
	sum, now, at := 0.0, 0, 0.0
	for _, m := range moves {
		if m.After >= pause {
			break
		}
		sum += holding(&r.Options[now]) * (m.After - at)
		o := &r.Options[m.Option]
		if m.Option < now {
			sum += p.CPU * r.Options[now].Wake.Seconds()
		}
		sum += p.CPU*o.Enter.Seconds() + p.Write*o.Writes/(1<<30)
		now, at = m.Option, m.After
	}
	sum += holding(&r.Options[now]) * (pause - at)
	if now > 0 {
		w := wakeTime(&r.Options[now], pause)
		sum += p.Visit*sleep.Harm(time.Duration(w*1e9)) + p.CPU*w
	}
	return sum
}
