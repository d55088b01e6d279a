package sleep

import (
	"math"
	"slices"
	"time"

	"github.com/fcnode/fcnode/detect/internal/figure"
)

const (
	// clockFew is with how many arrivals somebody may be found to come by the clock: with
	// fewer, people do by chance.
	clockFew = 5
	// clockOff is by how much an arrival may be off, as a share of the period, and in any case.
	clockOff   = 0.02
	clockOffBy = 2 * time.Second
	// clockMost is the share of the arrivals that have to be on time.
	clockMost = 0.8
	// clockMissed is how many times in a row may be missing: who came when the site was
	// awake was not noticed.
	clockMissed = 20
)

// Clock is that somebody comes by the clock.
type Clock struct {
	Every  time.Duration
	Jitter time.Duration // by which nine of ten arrivals are off, at most
}

// ByTheClock finds out whether arrivals, in order of time, come by the clock, some of
// them perhaps unnoticed: a monitor, a crawler, a job of cron.
func ByTheClock(at []time.Duration) (Clock, bool) {
	if len(at) < clockFew {
		return Clock{}, false
	}
	var gaps []time.Duration
	for i := range at[1:] {
		if gap := at[i+1] - at[i]; gap > clockOffBy {
			gaps = append(gaps, gap)
		}
	}
	if len(gaps) < clockFew-1 {
		return Clock{}, false
	}
	sorted := slices.Sorted(slices.Values(gaps))
	every := sorted[len(sorted)/4].Seconds() // those of which none is missing
	for range 3 {
		sum, periods := 0.0, 0.0
		for _, g := range gaps {
			if n, ok := periodsIn(g, every); ok {
				sum, periods = sum+g.Seconds(), periods+n
			}
		}
		if periods == 0 {
			return Clock{}, false
		}
		every = sum / periods
	}
	var off []time.Duration
	for _, g := range gaps {
		if n, ok := periodsIn(g, every); ok {
			off = append(off, figure.Seconds(math.Abs(g.Seconds()-n*every)))
		}
	}
	if float64(len(off)) < clockMost*float64(len(gaps)) {
		return Clock{}, false
	}
	slices.Sort(off)
	return Clock{Every: figure.Seconds(every), Jitter: off[len(off)*9/10]}, true
}

// periodsIn is how many times a period fits into a gap, if it does.
func periodsIn(gap time.Duration, every float64) (float64, bool) {
	n := math.Round(gap.Seconds() / every)
	off := math.Abs(gap.Seconds() - n*every)
	return n, n >= 1 && n <= clockMissed && off <= max(clockOff*every, clockOffBy.Seconds()) && off < every/4
}

// Usual is the length that most pauses have, within a fifth, if most have one.
func (p *Pauses) Usual() (from, to time.Duration, share float64) {
	total := p.Count()
	if total < clockFew {
		return 0, 0, 0
	}
	best, most := 0, int(p[0])
	for b := 1; b < Buckets; b++ {
		if n := int(p[b-1]) + int(p[b]); n > most {
			best, most = b, n
		}
	}
	return figure.Seconds(edges[max(0, best-1)]), figure.Seconds(edges[best+1]), float64(most) / float64(total)
}
