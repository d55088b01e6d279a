package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
)

// interval is a figure and where it lies in 95 of 100 draws of the sites.
type interval struct{ value, low, high float64 }

// resamples draws patterns with replacement: weights of sites, the first of them 1 for all.
// Sites that were made of one pattern are drawn together, as they are no independent
// witnesses.
func (s *study) resamples(n int, seed uint64) [][]float64 {
	of := map[int32][]int{}
	var kinds []int32
	for site, k := range s.fleet.Kind {
		if of[k] == nil {
			kinds = append(kinds, k)
		}
		of[k] = append(of[k], site)
	}
	rnd := rand.New(rand.NewPCG(seed, 61))
	out := make([][]float64, n+1)
	for i := range out {
		w := make([]float64, s.fleet.Sites)
		for range kinds {
			k := kinds[rnd.IntN(len(kinds))]
			for _, site := range of[k] {
				w[site]++
			}
		}
		if i == 0 {
			for site := range w {
				w[site] = 1
			}
		}
		out[i] = w
	}
	return out
}

// over is the interval of a figure over draws; the first draw is the fleet itself.
func over(draws [][]float64, figure func(weight []float64) float64) interval {
	out := interval{value: figure(draws[0])}
	var all []float64
	for _, w := range draws[1:] {
		if v := figure(w); !math.IsNaN(v) {
			all = append(all, v)
		}
	}
	if len(all) == 0 {
		out.low, out.high = math.NaN(), math.NaN()
		return out
	}
	slices.Sort(all)
	out.low, out.high = all[len(all)*25/1000], all[min(len(all)-1, len(all)*975/1000)]
	return out
}

// least is the least memory at which any curve of a rule reaches a level.
func (s *study) least(rule string, m measure, level float64, w []float64) float64 {
	best := math.NaN()
	for name, c := range s.curves {
		if name != rule && !strings.HasPrefix(name, rule+",") {
			continue
		}
		if v := c.sums(m, w).memoryAt(level); math.IsNaN(best) || v < best {
			best = v
		}
	}
	return best
}

// steered is what a rule with a steered price made of a share that was asked for: the
// memory, and the share that it held.
func (s *study) steered(rule string, share float64, w []float64) (memory, held float64) {
	c := curve{points: []point{{share, s.at(rule, share)}}}
	out := c.sums(lateShare, w)
	return out.memory[0], out.level[0]
}

// ratioLate is our memory over that of a rule that was tuned in hindsight. At the steered
// share the other rule gets the share that ours held, if that is more than was asked for. A
// draw of the sites would have been steered to a price of its own: there both are tuned
// in hindsight, and what steering loses on the fleet itself is put on top.
func (s *study) ratioLate(rule string, share float64, draws [][]float64) interval {
	memory, held := s.steered(ruleSteered, share, draws[0])
	level := max(share, held)
	lost := memory / s.least(rulePlanned, lateShare, level, draws[0])
	return over(draws, func(w []float64) float64 {
		return lost * s.least(rulePlanned, lateShare, level, w) / s.least(rule, lateShare, level, w)
	})
}

func (s *study) ratioWait(rule string, wait float64, draws [][]float64) interval {
	return over(draws, func(w []float64) float64 {
		return s.least(rulePlanned, meanWait, wait, w) / s.least(rule, meanWait, wait, w)
	})
}

// costRatio is the total cost of a rule over that of another at one price.
func (s *study) costRatio(rule, against string, price float64, draws [][]float64) interval {
	a, b := s.at(rule, price), s.at(against, price)
	p := prices(price)
	return over(draws, func(w []float64) float64 {
		var ours, theirs float64
		for i, x := range w {
			if x > 0 {
				ours += x * a.Sites[i].Cost(p)
				theirs += x * b.Sites[i].Cost(p)
			}
		}
		return ours / theirs
	})
}
