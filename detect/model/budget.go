package model

import (
	"container/heap"
	"math"

	"github.com/fcnode/fcnode/detect/sleep"
)

// Keeper is a rule for sleep under a budget of memory. Besides what plans it makes, it
// says who goes when a wake finds too little memory left.
type Keeper interface {
	Sleeper
	// Used is called when memory in use has been the same for some seconds.
	Used(seconds, used, budget float64)
	// Again is asked when a move is due: the option that the site should go to now, and
	// how much later the next move is.
	Again(site int, idle float64) (option int, next float64)
	// Worth is what it is worth to leave a site where it is, for the memory that it would
	// free by going to a deeper option; the least goes first. Negative: not at all.
	Worth(site int, now, idle float64, option int) (worth float64, to int)
}

// BudgetReport is what a rule made of a fleet.
type BudgetReport struct {
	Bill
	Peak    float64 // GiB
	Evicted int
	Queued  int     // wakes that had to wait for memory
	Waited  float64 // seconds, in which they waited for it
}

// MeanWait is what a request waits on average.
func (r *BudgetReport) MeanWait() float64 { return r.Bill.Waited / r.Requests }

type timer struct {
	at   float64
	site int32
	gen  uint32
	end  bool // of a burst
}

type timers []timer

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].at < t[j].at }
func (t timers) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }
func (t *timers) Push(x any)        { *t = append(*t, x.(timer)) }
func (t *timers) Pop() any {
	old := *t
	x := old[len(old)-1]
	*t = old[:len(old)-1]
	return x
}

type resident struct {
	option int
	active bool
	last   float64 // end of its last activity
	gen    uint32
	seen   bool
}

type waitingWake struct {
	burst *Burst
	from  int
}

// budget is a fleet under way.
type budget struct {
	night
	f      *Fleet
	rule   Keeper
	limit  float64
	sites  []resident
	queue  timers
	used   float64
	now    float64
	wakes  []waitingWake
	report BudgetReport
}

// PlayBudget lets a rule decide while all sites together may hold so many GiB. A wake
// for which there is no memory evicts, and waits if nobody can go. A move takes no time.
func PlayBudget(c NightConfig, f *Fleet, rule Keeper, limit float64) *BudgetReport {
	b := &budget{f: f, rule: rule, limit: limit, sites: make([]resident, f.Sites)}
	b.NightConfig, b.span = c, f.Span
	b.out.Sites = make([]Bill, f.Sites)
	for i := range c.Options {
		b.hold = append(b.hold, holding(&c.Options[i]))
	}
	for i := range b.sites {
		b.sites[i].option = len(c.Options) - 1
	}
	for i := range f.Bursts {
		burst := &f.Bursts[i]
		b.until(burst.At)
		b.arrive(burst)
	}
	b.until(f.Span)
	for i := range b.out.Sites {
		b.report.Bill.add(&b.out.Sites[i], 1)
	}
	return &b.report
}

func (b *budget) size(option int) float64 { return b.Options[option].Memory / (1 << 30) }

// until plays timers.
func (b *budget) until(at float64) {
	for len(b.queue) > 0 && b.queue[0].at <= at {
		t := heap.Pop(&b.queue).(timer)
		b.advance(t.at)
		s := &b.sites[t.site]
		switch {
		case t.gen != s.gen:
		case t.end:
			s.active, s.last = false, t.at
			b.rule.Idle(int(t.site), t.at, math.Inf(1), nil)
			b.later(int(t.site), 0)
			b.admit()
		default:
			b.move(int(t.site))
		}
	}
	b.advance(at)
}

// advance bills the time until a moment.
func (b *budget) advance(at float64) {
	if dt := at - b.now; dt > 0 {
		b.report.Memory += dt * b.used
		b.rule.Used(dt, b.used, b.limit)
		b.now = at
	}
}

// later sets the timer of a site's next move.
func (b *budget) later(site int, idle float64) {
	option, next := b.rule.Again(site, idle)
	if option != b.sites[site].option && b.fits(option, site) {
		b.put(site, option)
	}
	if !math.IsInf(next, 1) {
		heap.Push(&b.queue, timer{at: b.now + max(next, 0.001), site: int32(site), gen: b.sites[site].gen})
	}
}

func (b *budget) fits(option, site int) bool {
	return b.used-b.size(b.sites[site].option)+b.size(option) <= b.limit
}

func (b *budget) move(site int) { b.later(site, b.now-b.sites[site].last) }

// put moves a site that nobody waits for.
func (b *budget) put(site, option int) {
	s, bill := &b.sites[site], &b.out.Sites[site]
	if option < s.option {
		bill.CPU += b.Options[s.option].Wake.Seconds()
		bill.Ahead++
	}
	if option != 0 {
		b.enter(bill, option)
	}
	b.used += b.size(option) - b.size(s.option)
	s.option = option
	b.report.Peak = max(b.report.Peak, b.used)
}

func (b *budget) arrive(burst *Burst) {
	s := &b.sites[burst.Site]
	s.gen++
	if s.active { // the one before is served still
		if s.option == 0 {
			b.serve(waitingWake{burst, 0}, 0)
			return
		}
		b.wakes = append(b.wakes, waitingWake{burst, s.option})
		return
	}
	b.wakes = append(b.wakes, waitingWake{burst, s.option})
	s.active = true
	b.admit()
}

// admit serves the wakes for which there is memory, first come first served.
func (b *budget) admit() {
	for len(b.wakes) > 0 {
		w := b.wakes[0]
		site := int(w.burst.Site)
		for !b.fits(0, site) {
			if !b.evict() {
				return
			}
		}
		b.wakes = b.wakes[1:]
		waited := b.now - w.burst.At
		if waited > 0 {
			b.report.Queued++
			b.report.Waited += waited
		}
		b.serve(w, waited)
	}
}

// serve wakes a site for a burst that has waited for memory already.
func (b *budget) serve(w waitingWake, waited float64) {
	site := int(w.burst.Site)
	s, bill := &b.sites[site], &b.out.Sites[site]
	wait := waited
	pause := w.burst.At - s.last
	if s.option != 0 {
		wake := wakeTime(&b.Options[s.option], pause)
		wait += wake
		bill.Wakes++
		bill.CPU += wake
	}
	b.used += b.size(0) - b.size(s.option)
	s.option = 0
	b.report.Peak = max(b.report.Peak, b.used)
	if !s.seen {
		wait = 0 // as in PlayNights
	}
	met := b.meet(bill, wait, b.f, w.burst)
	if s.seen {
		b.rule.Woke(site, w.burst.At, pause, met)
	}
	s.seen = true
	heap.Push(&b.queue, timer{at: max(b.now, w.burst.End), site: int32(site), gen: s.gen, end: true})
}

// evict sends away what is worth least, and reports whether anybody could go.
func (b *budget) evict() bool {
	best, to, least := -1, 0, math.Inf(1)
	for i := range b.sites {
		s := &b.sites[i]
		if s.active || b.size(s.option) == 0 {
			continue
		}
		if worth, option := b.rule.Worth(i, b.now, b.now-s.last, s.option); worth >= 0 && worth < least {
			best, to, least = i, option, worth
		}
	}
	if best < 0 {
		return false
	}
	b.report.Evicted++
	b.put(best, to)
	return true
}

// Ladder of evictions: reclaimed at first, then nothing in memory.
func deeper(options []sleep.Option, option int) int {
	for i := option + 1; i < len(options); i++ {
		if options[i].Memory < options[option].Memory {
			return i
		}
	}
	return option
}

// LRU keeps all until memory is needed; then who was idle for the longest is reclaimed,
// and when all are, who was idle for the longest is checkpointed.
type LRU struct{ Options []sleep.Option }

// Idle implements Keeper.
func (LRU) Idle(int, float64, float64, *Night) {}

// Woke implements Keeper.
func (LRU) Woke(int, float64, float64, Met) {}

// Used implements Keeper.
func (LRU) Used(float64, float64, float64) {}

// Again implements Keeper.
func (LRU) Again(int, float64) (int, float64) { return 0, math.Inf(1) }

// Worth implements Keeper.
func (r LRU) Worth(_ int, _, idle float64, option int) (float64, int) {
	w := 1 / (1 + idle)
	if option != 0 {
		w += 2
	}
	return w, deeper(r.Options, option)
}

// GreedyDual keeps all until memory is needed; then who has the least
// clock + visits × wake / memory is checkpointed, and the clock is set to it (FaasCache,
// ASPLOS 2021).
type GreedyDual struct {
	Options []sleep.Option
	To      int
	clock   float64
	visits  map[int]float64
	value   map[int]float64
}

// Idle implements Keeper.
func (r *GreedyDual) Idle(site int, _, _ float64, _ *Night) {
	if r.visits == nil {
		r.visits, r.value = map[int]float64{}, map[int]float64{}
	}
	r.visits[site]++
	r.value[site] = r.clock + r.visits[site]*r.Options[r.To].Wake.Seconds()/(r.Options[0].Memory/(1<<30))
}

// Woke implements Keeper.
func (*GreedyDual) Woke(int, float64, float64, Met) {}

// Used implements Keeper.
func (*GreedyDual) Used(float64, float64, float64) {}

// Again implements Keeper.
func (*GreedyDual) Again(int, float64) (int, float64) { return 0, math.Inf(1) }

// Worth implements Keeper.
func (r *GreedyDual) Worth(site int, _, _ float64, _ int) (float64, int) {
	r.clock = max(r.clock, 0)
	return r.value[site], r.To
}
