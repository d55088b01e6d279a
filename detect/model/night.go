package model

import (
	"math"
	"slices"
	"time"

	"github.com/fcnode/fcnode/detect/sleep"
)

// Night is what a rule wants for one pause: where the site is to be from when on,
// counted from the last activity, in seconds. It is running until the first move.
type Night struct {
	Moves []Move

	roused float64 // until when it was woken beside another
}

// Move is a step of it.
type Move struct {
	After  float64
	Option int
}

// Sleeper is a rule for when sites sleep. It is asked in the order of time.
type Sleeper interface {
	// Idle is called when a site's activity has ended. Only an oracle may look
	// at how long the pause will be.
	Idle(site int, at, pause float64, n *Night)
	// Woke is called when the pause has ended, with what its visitors met.
	Woke(site int, at, pause float64, met Met)
}

// Beside is a Sleeper that has sites woken beside one to which somebody has come.
type Beside interface {
	Sleeper
	// Woken is called when a burst has begun, after Woke: whether it woke the site. What it
	// returns is awake from then on for sleep.BesideFor; at gives the option that a site sleeps on,
	// 0 if it does not sleep.
	Woken(site int, now float64, slept bool, at func(site int) int) []int
}

// Met is what the visitors of a burst met.
type Met struct {
	Requests, Late int
	Wait           time.Duration // of the first
}

// Bill is what a site has cost and what its visitors met.
type Bill struct {
	Memory   float64 // GiB·s
	Hold     float64 // in units of price: all that holding costs
	Requests float64
	Late     float64
	Waited   float64 // seconds, of all requests
	Harm     float64 // seconds of waiting that count
	Wakes    float64
	Ahead    float64 // wakes that nobody waited for
	Beside   float64 // of these, beside another site's
	Followed float64 // of these, before somebody came
	Dumps    float64
	Written  float64 // GiB
	CPU      float64 // seconds of moving
}

func (b *Bill) add(o *Bill, times float64) {
	b.Memory += times * o.Memory
	b.Hold += times * o.Hold
	b.Requests += times * o.Requests
	b.Late += times * o.Late
	b.Waited += times * o.Waited
	b.Harm += times * o.Harm
	b.Wakes += times * o.Wakes
	b.Ahead += times * o.Ahead
	b.Beside += times * o.Beside
	b.Followed += times * o.Followed
	b.Dumps += times * o.Dumps
	b.Written += times * o.Written
	b.CPU += times * o.CPU
}

// Cost is the total at prices.
func (b *Bill) Cost(p sleep.Prices) float64 {
	return b.Hold + p.Visit*b.Harm + p.CPU*b.CPU + p.Write*b.Written
}

// NightConfig is how a fleet is played.
type NightConfig struct {
	Options []sleep.Option // running first
	Over    time.Duration  // a request that waits longer is late
	// Windows is how many parts of the span are billed apart.
	Windows int
}

// NightReport is what a rule made of a fleet.
type NightReport struct {
	Sites   []Bill
	Windows []Bill  // of the fleet, by the time of the wake
	Always  float64 // GiB·s if all sites were always running
}

// Total of all sites.
func (r *NightReport) Total() (t Bill) {
	for i := range r.Sites {
		t.add(&r.Sites[i], 1)
	}
	return t
}

// Share of the memory that all sites would hold if they were always running.
func (r *NightReport) Share() float64 { t := r.Total(); return t.Memory / r.Always }

// night is a fleet under way.
type night struct {
	NightConfig
	hold []float64 // price of a second on each option
	out  NightReport
	span float64
}

// PlayNights lets a rule decide for every pause of a fleet. Memory has no bound. Sites
// begin cold; their first visitors are not billed, as no rule could have known of them.
func PlayNights(c NightConfig, f *Fleet, rule Sleeper) *NightReport {
	n := night{NightConfig: c, span: f.Span}
	n.out.Sites = make([]Bill, f.Sites)
	n.out.Windows = make([]Bill, max(1, c.Windows))
	n.out.Always = float64(f.Sites) * f.Span * c.Options[0].Memory / (1 << 30)
	for i := range c.Options {
		n.hold = append(n.hold, holding(&c.Options[i]))
	}
	last := make([]float64, f.Sites) // end of the last activity
	nights := make([]Night, f.Sites)
	next := nextBursts(f)
	for i := range last {
		last[i] = -1
		nights[i].Moves = append(make([]Move, 0, 8), Move{0, len(c.Options) - 1})
	}
	for i := range f.Bursts {
		b := &f.Bursts[i]
		s := int(b.Site)
		pause := b.At - max(0, last[s])
		met := n.pause(s, b.At, pause, &nights[s], f, b)
		if last[s] >= 0 {
			rule.Woke(s, b.At, pause, met)
		}
		if r, does := rule.(Beside); does {
			n.beside(r, s, b.At, met.Wait > 0, last, nights)
		}
		n.awake(s, b.End-b.At)
		last[s] = b.End
		nights[s].Moves, nights[s].roused = nights[s].Moves[:0], 0
		coming := math.Inf(1)
		if next[i] >= 0 {
			coming = f.Bursts[next[i]].At - b.End
		}
		rule.Idle(s, b.End, coming, &nights[s])
	}
	for s := range last { // what is idle at the end is idle until then
		n.idle(s, f.Span-max(0, last[s]), &nights[s])
	}
	return &n.out
}

// beside wakes sites beside one that has just been woken.
func (n *night) beside(rule Beside, site int, now float64, slept bool, last []float64, nights []Night) {
	at := func(other int) int {
		if other == site || last[other] < 0 || now <= last[other] {
			return 0
		}
		return nights[other].at(now - last[other])
	}
	for _, other := range rule.Woken(site, now, slept, at) {
		if at(other) > 0 {
			nights[other].rouse(now-last[other], sleep.BesideFor.Seconds())
			n.out.Sites[other].Beside++
		}
	}
}

// at is where the site is after so long.
func (n *Night) at(idle float64) (option int) {
	for _, m := range n.Moves {
		if m.After > idle {
			break
		}
		option = m.Option
	}
	return option
}

// rouse has the site run from an idle time on for so long, and then be where it would have been.
func (n *Night) rouse(idle, length float64) {
	until := idle + length
	back := Move{until, n.at(until)}
	n.Moves = slices.DeleteFunc(n.Moves, func(m Move) bool { return m.After > idle && m.After <= until })
	i, _ := slices.BinarySearchFunc(n.Moves, idle, func(m Move, t float64) int {
		if m.After <= t {
			return -1
		}
		return 1
	})
	n.Moves = slices.Insert(n.Moves, i, Move{idle, 0}, back)
	n.roused = until
}

// nextBursts is the index of the same site's next burst, or -1.
func nextBursts(f *Fleet) []int32 {
	next := make([]int32, len(f.Bursts))
	seen := make([]int32, f.Sites)
	for i := range seen {
		seen[i] = -1
	}
	for i := len(f.Bursts) - 1; i >= 0; i-- {
		s := f.Bursts[i].Site
		next[i] = seen[s]
		seen[s] = int32(i)
	}
	return next
}

// holding is what a second on an option costs at the usual prices.
func holding(o *sleep.Option) float64 {
	p := sleep.DefaultPrices
	return o.Memory/(1<<30) + p.Disk*o.Disk/(1<<30) + p.CPU*o.CPU
}

func (n *night) awake(site int, length float64) {
	b := &n.out.Sites[site]
	b.Memory += length * n.Options[0].Memory / (1 << 30)
	b.Hold += length * n.hold[0]
}

// idle bills the moves and the holding of a pause, and tells where it ends and since when
// the site has been on its way there.
func (n *night) idle(site int, pause float64, night *Night) (option int, since float64) {
	b := &n.out.Sites[site]
	now, at := 0, 0.0
	hold := func(until float64) {
		b.Memory += (until - at) * n.Options[now].Memory / (1 << 30)
		b.Hold += (until - at) * n.hold[now]
		at = until
	}
	for _, m := range night.Moves {
		if m.After >= pause {
			break
		}
		hold(m.After)
		if m.Option == now || m.After == 0 && at == 0 && n.out.Sites[site].Requests == 0 {
			now = m.Option
			continue
		}
		if m.Option < now {
			b.CPU += n.Options[now].Wake.Seconds()
			b.Ahead++
		}
		if m.Option != 0 {
			n.enter(b, m.Option)
		}
		now, since = m.Option, m.After
	}
	hold(max(at, pause))
	return now, since
}

func (n *night) enter(b *Bill, option int) {
	o := &n.Options[option]
	b.CPU += o.Enter.Seconds()
	if o.Writes > 0 {
		b.Dumps++
		b.Written += o.Writes / (1 << 30)
	}
}

// wakeTime is what a wake takes of a site that was idle for so long. An image cools.
func wakeTime(o *sleep.Option, idle float64) float64 {
	w := o.Wake.Seconds()
	if o.Cooled > o.Wake && o.Cools > 0 {
		w += (o.Cooled - o.Wake).Seconds() * -math.Expm1(-idle/o.Cools.Seconds())
	}
	return w
}

// pause plays one that ends in a burst.
func (n *night) pause(site int, at, pause float64, night *Night, f *Fleet, burst *Burst) Met {
	b := &n.out.Sites[site]
	before := *b
	option, since := n.idle(site, pause, night)
	if night.roused > 0 && pause <= night.roused {
		b.Followed++
	}
	wait := 0.0
	if option != 0 {
		wait = wakeTime(&n.Options[option], pause)
		b.Wakes++
		b.CPU += wait
	} else if since > 0 {
		// Woken ahead, perhaps too late: the rest of that wake is waited for.
		for i, m := range night.Moves {
			if m.After == since && i > 0 {
				wait = max(0, since+wakeTime(&n.Options[night.Moves[i-1].Option], since)-pause)
			}
		}
	}
	if before.Requests == 0 {
		wait = 0 // the trace begins somewhere: nothing is known of what was before
	}
	met := n.meet(b, wait, f, burst)
	w := &n.out.Windows[min(len(n.out.Windows)-1, int(at/n.span*float64(len(n.out.Windows))))]
	w.add(b, 1)
	w.add(&before, -1)
	return met
}

// meet is what a burst's requests wait.
func (n *night) meet(b *Bill, wait float64, f *Fleet, burst *Burst) Met {
	met := Met{Requests: int(burst.Requests), Wait: time.Duration(wait * 1e9)}
	b.Requests += float64(burst.Requests)
	if wait <= 0 {
		return met
	}
	over := n.Over.Seconds()
	count := func(w float64) {
		b.Waited += w
		b.Harm += sleep.Harm(time.Duration(w * 1e9))
		if w > over {
			b.Late++
			met.Late++
		}
	}
	count(wait)
	for _, after := range f.Early(burst) {
		if w := wait - float64(after); w > 0 {
			count(w)
		}
	}
	return met
}
