package sleep

import (
	"math"
	"slices"
	"time"

	"github.com/fcnode/fcnode/detect/internal/figure"
)

// Follows is within how long after a wake of one site a visit to another counts as its
// follower's.
const Follows = 5 * time.Second

// BesideFor is for how long a site stays awake that was woken beside another.
const BesideFor = Follows + cascadeSecond

const (
	// A sketch has so many sets of so many sites whose followers are counted, and so
	// many followers of each: 144 KiB, of some 240 that all of it takes at most.
	leadSets  = 256
	leadWays  = 4
	followers = 4
	// leadStale is after how long without a wake a site with followers makes room.
	leadStale = 14 * 24 * time.Hour
	// cascadeKeep lets old wakes of a site fade: about a hundred count.
	cascadeKeep = 0.99
	// cascadeSure is how improbable by chance the visits that followed must be, as
	// -ln: 6 in a million, as there are a thousand times as many pairs as sites.
	cascadeSure = 12
	// cascadeLeads is after how many wakes at most a visit may have come: the last ones.
	cascadeLeads = 8
	// A wake is one of a crowd when there are more of the node's than this in a minute,
	// and than so many times as usual: a scanner wakes one site after the other. Nothing
	// is learnt from it, nor from the two minutes before it was found.
	crowdLeast, crowdTimes = 10, 4
	crowdWithin            = time.Minute
	crowdFound             = 2 * time.Minute
	crowdUsual             = 24 * time.Hour // over which the usual is taken
	crowdBegin             = 10 * time.Minute
	// cascadeBank is how many needless wakes a pair can have saved up. So there are
	// no more of them than this for each visit that did follow.
	cascadeBank = 8
	// cascadeMet is for how long a visit may be told by a wake and by a meter.
	cascadeMet = 2 * Follows
	// cascadeLate is by how much a meter tells it late.
	cascadeLate = 3 * time.Second
	// cascadeSecond is to what a meter knows when somebody came.
	cascadeSecond = time.Second
)

// Cascades counts, for all sites of a node, how often visits to one follow wakes of
// another, to wake it beside that one where this has paid. It is a sketch of a fixed
// size: sites that hardly ever wake make room for others. A site is a number that is not 0; times
// are since any instant that stays the same.
type Cascades struct {
	leads  []lead // sets of leadWays
	rates  rates
	crowd  crowd
	woken  ring // wakes that may be followed
	came   ring
	heard  []heard // of the last two minutes, the newest last
	trials []trial
}

// heard is that a visit to one site followed a wake of another.
type heard struct {
	lead, site uint32
	at         time.Duration
	lag        float32 // seconds
	rough      bool    // known to the second only
}

// mostHeard bounds those that are not learnt yet; what follows beside them is not heard.
const mostHeard = 2048

// lead is a site whose wakes others follow.
type lead struct {
	site  uint32
	wakes float32 // lately
	last  time.Duration
	by    [followers]follower
}

// follower is a site whose visits follow those wakes.
type follower struct {
	site   uint32
	came   float32 // within Follows after a wake, lately
	before float32 // within Follows before one
	chance float32 // how many there would be if it did not matter to it
	lag    float32 // seconds after the wake
	debt   float32 // what needless wakes have cost beyond what the others have saved; within bounds
	gain   Paired  // what waking it beside the other would have saved
}

// trial is a wake of which it is not known yet whether a visit to another follows.
type trial struct {
	lead, site      uint32
	at              time.Duration
	saved, needless float64
}

// Beside is a site whose visits follow those of one that has just woken, and not by chance.
type Beside struct {
	Site uint32
	// Of the last Wakes of the other so many were followed; Lag is the usual time between them.
	Came, Wakes float64
	Lag         time.Duration
}

// NewCascades makes a sketch that has seen nothing.
func NewCascades() *Cascades { return &Cascades{leads: make([]lead, leadSets*leadWays)} }

// Woke takes into account that somebody's visit woke a site, and gives those whose visits
// surely follow: each is to be priced by Try.
func (c *Cascades) Woke(site uint32, at time.Duration) (out []Beside) {
	crowd := c.crowd.wake(at)
	c.learn(at, crowd)
	c.expire(at)
	if c.came.has(site, at-cascadeMet, at) { // it was told by the meter, or is awake on and off
		return nil
	}
	c.arrives(site, at, 0, crowd)
	if crowd {
		return nil
	}
	c.woken.put(site, at)
	l := c.lead(site, at)
	if l == nil {
		return nil
	}
	l.last = at
	l.wakes = l.wakes*cascadeKeep + 1
	for i := range l.by {
		f := &l.by[i]
		if f.site == 0 {
			continue
		}
		f.came *= cascadeKeep
		f.before *= cascadeKeep
		f.chance = f.chance*cascadeKeep + c.rates.chance(f.site, at)
		if c.came.has(f.site, at-Follows, at) {
			f.before++ // so it is there already
		} else if f.surely() {
			out = append(out, l.beside(f))
		}
	}
	return out
}

// Came takes into account that a visit to a site began after a pause, whether it slept or
// not, as a meter tells it: to the second, and late.
func (c *Cascades) Came(site uint32, at time.Duration) {
	if !c.came.has(site, at-cascadeMet, at+cascadeMet) {
		c.arrives(site, at, cascadeSecond, c.crowd.is(at))
	}
}

// arrives takes a visit, known to so much, as what follows the wakes before it.
func (c *Cascades) arrives(site uint32, at, slack time.Duration, crowd bool) {
	c.came.put(site, at)
	c.rates.add(site, at)
	c.endAll(true, func(t *trial) bool { return t.site == site && at > t.at-slack && at <= t.at+Follows+slack })
	if crowd {
		return
	}
	for n, w := range c.woken.newest() {
		if n == cascadeLeads || w.at < at-Follows-slack {
			break
		}
		if w.site == site || w.at > at+slack {
			continue
		}
		if len(c.heard) < mostHeard && c.find(w.site) != nil {
			c.heard = append(c.heard, heard{w.site, site, at, float32(max(0, at-w.at).Seconds()), slack > 0})
		}
	}
}

// learn takes what was heard two minutes ago, when no crowd has come meanwhile.
func (c *Cascades) learn(now time.Duration, crowd bool) {
	if crowd {
		c.heard = c.heard[:0]
		return
	}
	done := 0
	for ; done < len(c.heard) && (now-c.heard[done].at > crowdFound || now < c.heard[done].at-cascadeMet); done++ {
		h := &c.heard[done]
		if l := c.find(h.lead); l != nil {
			l.followed(h, c.rates.chance(h.site, now))
		}
	}
	c.heard = slices.Delete(c.heard, 0, done)
}

// followed counts a visit that followed.
func (l *lead) followed(h *heard, chance float32) {
	worst, least := 0, math.Inf(1)
	for i := range l.by {
		f := &l.by[i]
		if f.site == h.site {
			f.came++
			if !h.rough {
				f.lag += (h.lag - f.lag) / min(f.came, 8)
			}
			return
		}
		e := math.Inf(-1)
		if f.site != 0 {
			e = f.evidence()
		}
		if e < least {
			worst, least = i, e
		}
	}
	if f := (follower{site: h.site, came: 1, chance: chance, lag: h.lag}); f.evidence() > least {
		l.by[worst] = f
	}
}

// evidence is how improbable it is by chance that so many visits followed, as -ln: Chernoff's bound
// for a Poisson number of them. What comes as often before as after says that it is chance.
func (f *follower) evidence() float64 {
	k, e := float64(f.came), max(float64(f.chance), float64(f.before), 1e-9)
	if k <= e {
		return 0
	}
	return k*math.Log(k/e) - k + e
}

func (f *follower) surely() bool { return f.came > 2 && f.evidence() > cascadeSure }

func (l *lead) beside(f *follower) Beside {
	return Beside{Site: f.site, Came: float64(f.came), Wakes: float64(max(l.wakes, f.came)), Lag: figure.Seconds(float64(f.lag))}
}

// Try says whether a site that sleeps is to be woken beside one that has just woken: if that
// saves more than it costs, by what would have come of it the last times, and if its
// needless wakes are paid. saved is what it saves if a visit follows, needless what it costs
// if none does. What comes of it counts, whether it is done or not.
func (c *Cascades) Try(site uint32, b Beside, at time.Duration, saved, needless float64) bool {
	l := c.find(site)
	if l == nil || !(needless >= 0) || math.IsInf(needless, 0) || math.IsNaN(saved) {
		return false
	}
	f := l.follower(b.Site)
	if f == nil {
		return false
	}
	if len(c.trials) == mostTrials {
		c.end(&c.trials[0], false)
		c.trials = slices.Delete(c.trials, 0, 1)
	}
	c.trials = append(c.trials, trial{site, b.Site, at, saved, needless})
	p := min(1, b.Came/max(b.Wakes, 1))
	return p*saved > (1-p)*needless && f.debt < 0 && f.gain.Surely()
}

const mostTrials = 64

// BesideCosts is what it saves to wake a site from a tier beside another that its visits follow, when one follows so
// much later; and what it costs when none does.
func BesideCosts(running, asleep Option, p Prices, lag time.Duration) (saved, needless float64) {
	wait := asleep.Wake.Seconds()
	saved = p.Visit * (harm(wait) - harm(max(0, wait-lag.Seconds())))
	saved -= p.holdOption(&running) * lag.Seconds()
	needless = p.CPU*(wait+asleep.Enter.Seconds()) + p.Write*asleep.Writes/figure.GiB + BesideFor.Seconds()*p.holdOption(&running)
	return saved, needless
}

// end takes what came of a trial.
func (c *Cascades) end(t *trial, came bool) {
	if l := c.find(t.lead); l != nil {
		if f := l.follower(t.site); f != nil {
			d := -t.needless
			if came {
				d = t.saved
			}
			f.gain.Add(d)
			most := cascadeBank * max(t.needless, 1e-6)
			f.debt = clampFloat(figure.Clamp(float64(f.debt)-d, -most, most, most))
		}
	}
}

// endAll ends the trials that are over, with what came of them.
func (c *Cascades) endAll(came bool, over func(*trial) bool) {
	c.trials = slices.DeleteFunc(c.trials, func(t trial) bool {
		if !over(&t) {
			return false
		}
		c.end(&t, came)
		return true
	})
}

// expire ends the trials that nobody has followed.
func (c *Cascades) expire(now time.Duration) {
	c.endAll(false, func(t *trial) bool { return now-t.at > Follows+cascadeSecond+cascadeLate || now < t.at-cascadeMet })
}

// Of gives the pairs in which a site is the one that follows, and not by chance, by the site that
// it follows; and whether it would be woken.
func (c *Cascades) Of(site uint32) (pairs map[uint32]Beside, wakes map[uint32]bool) {
	pairs, wakes = map[uint32]Beside{}, map[uint32]bool{}
	for i := range c.leads {
		l := &c.leads[i]
		if f := l.follower(site); l.site != 0 && f != nil && f.surely() {
			pairs[l.site], wakes[l.site] = l.beside(f), f.debt < 0 && f.gain.Surely()
		}
	}
	return pairs, wakes
}

func (l *lead) follower(site uint32) *follower {
	for i := range l.by {
		if l.by[i].site == site && site != 0 {
			return &l.by[i]
		}
	}
	return nil
}

// merit is how much would be lost with a site's followers.
func (l *lead) merit() (best float64) {
	for i := range l.by {
		if l.by[i].site != 0 {
			best = max(best, l.by[i].evidence())
		}
	}
	return best
}

func (c *Cascades) set(site uint32) []lead {
	n := int(mix(site)%leadSets) * leadWays
	return c.leads[n : n+leadWays]
}

func (c *Cascades) find(site uint32) *lead {
	set := c.set(site)
	for i := range set {
		if set[i].site == site && site != 0 {
			return &set[i]
		}
	}
	return nil
}

// lead is that of a site, for which the one makes room that has the least to tell; nil: none does.
func (c *Cascades) lead(site uint32, now time.Duration) *lead {
	if l := c.find(site); l != nil || site == 0 {
		return l
	}
	set := c.set(site)
	worth := func(l *lead) float64 {
		if m := l.merit(); l.site != 0 && now-l.last < leadStale {
			return 1 + m
		}
		return 0
	}
	worst := &set[0]
	for i := range set {
		l := &set[i]
		if w := worth(l); w < worth(worst) || w == worth(worst) && l.last < worst.last {
			worst = l
		}
	}
	if worth(worst) > 1+cascadeSure {
		return nil
	}
	*worst = lead{site: site}
	return worst
}

// mix spreads the numbers of sites (Murmur's finalizer).
func mix(x uint32) uint32 {
	x ^= x >> 16
	x *= 0x85ebca6b
	x ^= x >> 13
	x *= 0xc2b2ae35
	return x ^ x>>16
}

// seen is that something happened to a site.
type seen struct {
	site uint32
	at   time.Duration
}

// ring has the last of them.
type ring struct {
	all  [128]seen
	next int
}

func (r *ring) put(site uint32, at time.Duration) {
	r.all[r.next] = seen{site, at}
	r.next = (r.next + 1) % len(r.all)
}

// newest gives them, the newest first.
func (r *ring) newest() func(func(int, seen) bool) {
	return func(yield func(int, seen) bool) {
		for i := range r.all {
			s := r.all[(r.next-1-i+2*len(r.all))%len(r.all)]
			if s.site == 0 || !yield(i, s) {
				return
			}
		}
	}
}

// has says whether it happened to a site between two times.
func (r *ring) has(site uint32, from, to time.Duration) bool {
	for _, s := range r.newest() {
		if s.site == site && s.at >= from && s.at <= to {
			return true
		}
	}
	return false
}

// rates is how often each site is visited: counts in two rows, of which the smaller is at most
// too large (Cormode, Muthukrishnan 2005), halved every week.
type rates struct {
	rows  [2][4096]float32
	since time.Duration // the counts are of about this time on; 0: nothing was counted
}

const ratesHalve = 7 * 24 * time.Hour

func (r *rates) cells(site uint32) (a, b *float32) {
	h := mix(site)
	return &r.rows[0][h%4096], &r.rows[1][mix(h^0x9e3779b9)%4096]
}

func (r *rates) add(site uint32, at time.Duration) {
	if r.since == 0 {
		r.since = at
	}
	if at-r.since > 2*ratesHalve {
		for i := range r.rows {
			for k := range r.rows[i] {
				r.rows[i][k] /= 2
			}
		}
		r.since = at - (at-r.since)/2
	}
	a, b := r.cells(site)
	*a++
	*b++
}

// chance is that a visit begins within Follows, if it does not matter what happens to others.
func (r *rates) chance(site uint32, at time.Duration) float32 {
	a, b := r.cells(site)
	visits := float64(min(*a, *b)) + 1
	span := max(0, at-r.since) + time.Hour // as little is known at the beginning
	return float32(-math.Expm1(-visits * (Follows + cascadeSecond).Seconds() / span.Seconds()))
}

// crowd finds out when more sites wake than usual.
type crowd struct {
	now, usual float64 // wakes within about a minute, and within about a day
	span       float64 // seconds of that day, as far as seen
	at         time.Duration
}

func (c *crowd) pass(at time.Duration) {
	since := max(0, at-c.at).Seconds()
	if c.at == 0 {
		since = 0
	}
	c.now *= math.Exp(-since / crowdWithin.Seconds())
	keep := math.Exp(-since / crowdUsual.Seconds())
	c.usual *= keep
	c.span = c.span*keep + crowdUsual.Seconds()*(1-keep)
	c.at = max(c.at, at)
}

// wake takes one, and says whether it is one of a crowd.
func (c *crowd) wake(at time.Duration) bool {
	c.pass(at)
	c.now++
	crowd := c.now > c.most()
	c.usual++
	return crowd
}

func (c *crowd) is(at time.Duration) bool {
	c.pass(at)
	return c.now > c.most()
}

func (c *crowd) most() float64 {
	return crowdLeast + crowdTimes*crowdWithin.Seconds()*c.usual/max(c.span, crowdBegin.Seconds())
}
