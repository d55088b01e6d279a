package sleep

import (
	"math"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/detect/internal/figure"
)

// TierCost is what a tier costs one site, measured or assumed.
type TierCost struct {
	Tier detect.Tier
	// What a wake adds to the visitor's first answer, of so many wakes; 0 samples: a guess.
	Median, P99 time.Duration
	Samples     int
	Memory      float64 // bytes held while asleep there
	Disk        float64 // bytes
	CPU         float64 // cores used meanwhile; 0: a guess
	HeldKnown   bool    // Memory and Disk were measured
}

// priorMemory is a small site's, and priorCPU what a process that nobody asks uses
// for its timers.
const (
	priorMemory = 64 * figure.MiB
	priorCPU    = 0.005
	priorStart  = 300 * time.Millisecond // an application's own start
	coldStart   = 45 * time.Millisecond  // fcnode's part of a cold start
)

// assumed are the costs of a tier before anything was measured there (docs/tiers.md), as
// far as possible from what is known of the others: its memory while running, and
// how long the application itself takes to start.
func assumed(t detect.Tier, memory float64, own time.Duration) TierCost {
	c := TierCost{Tier: t}
	ms := func(median, p99 float64) {
		c.Median, c.P99 = figure.Seconds(median/1e3), figure.Seconds(p99/1e3)
	}
	heap := memory / figure.MiB
	switch t {
	case detect.TierRunning:
		c.Memory, c.CPU = memory, priorCPU
	case detect.TierFrozen:
		c.Memory = memory
		ms(0.3, 1)
	case detect.TierReclaimed:
		c.Memory = 0.4 * memory
		ms(2+0.2*heap, 5+0.4*heap)
	case detect.TierPrepared:
		c.Memory = 0.7 * figure.MiB
		ms(1.3+own.Seconds()*1e3, 2.5+1.5*own.Seconds()*1e3)
	case detect.TierCheckpointed:
		c.Disk = memory
		ms(30+0.8*heap, 60+1.6*heap)
	case detect.TierCold:
		ms((coldStart+own).Seconds()*1e3, 1.5*(coldStart+own).Seconds()*1e3)
	}
	return c
}

// complete returns the costs of all tiers, running first: the measured ones, and
// guesses for the rest.
func complete(measured []TierCost) []TierCost {
	byTier := make(map[detect.Tier]TierCost, len(measured))
	for _, m := range measured {
		byTier[m.Tier] = m
	}
	memory := float64(priorMemory)
	for _, t := range []detect.Tier{detect.TierFrozen, detect.TierRunning} {
		if m, ok := byTier[t]; ok && m.HeldKnown && figure.Positive(m.Memory) > 0 {
			memory = m.Memory
		}
	}
	own := priorStart
	if m, ok := byTier[detect.TierCold]; ok && m.Samples > 0 {
		own = max(m.Median-coldStart, m.Median*3/10)
	}
	if m, ok := byTier[detect.TierPrepared]; ok && m.Samples > 0 {
		own = m.Median
	}
	out := append(make([]TierCost, 0, mostOptions), merge(assumed(detect.TierRunning, memory, own), byTier[detect.TierRunning]))
	for _, t := range detect.Tiers {
		out = append(out, merge(assumed(t, memory, own), byTier[t]))
	}
	return out
}

// merge prefers what was measured. Few wakes say little of the p99, so it is taken for
// longer than the longest seen.
func merge(guess, m TierCost) TierCost {
	out := guess
	if m.Samples > 0 && m.Median >= 0 {
		out.Samples = m.Samples
		out.Median = m.Median
		few := figure.Seconds(m.Median.Seconds() * (1 + 2/math.Sqrt(float64(m.Samples))))
		out.P99 = max(m.P99, m.Median)
		if m.Samples < 100 {
			out.P99 = max(out.P99, few)
		}
	}
	if m.HeldKnown {
		out.Memory, out.Disk, out.HeldKnown = figure.Positive(m.Memory), figure.Positive(m.Disk), true
	}
	if m.CPU > 0 {
		out.CPU = figure.Positive(m.CPU)
	}
	return out
}

// Prices make memory, disk, CPU and a visitor's time comparable. The unit is a GiB
// of memory held for a second, while memory is not short.
type Prices struct {
	Memory float64 // of a GiB for a second: 1, and more while memory is short; 0: 1
	Disk   float64 // of a GiB of disk for a second
	CPU    float64 // of a core for a second
	Visit  float64 // of a second of a visitor's waiting
	Write  float64 // of a GiB written to disk
}

// DefaultPrices are those of a usual node: disk is fifty times cheaper than memory, a core
// is worth four GiB (as machines are sold), and a second of a visitor's time is worth ten
// minutes of a GiB. A disk that may be written 600 TB and costs as much as 16 GiB of
// memory for as long as it lasts (five years) would make a GiB written 4 GiB·s; it is
// sixteen times that, because a disk that is busy with images serves no site.
var DefaultPrices = Prices{Memory: 1, Disk: 0.02, CPU: 4, Visit: 600, Write: 128}

// hold is what a second on a tier costs. Under pressure memory costs more.
func (p Prices) hold(c TierCost, pressure float64) float64 {
	return pressure*c.Memory/figure.GiB + p.Disk*c.Disk/figure.GiB + p.CPU*c.CPU
}

// holdOption is the same of an option, at the price of memory now.
func (p Prices) holdOption(o *Option) float64 {
	memory := p.Memory
	if memory == 0 {
		memory = 1
	}
	return memory*o.Memory/figure.GiB + p.Disk*o.Disk/figure.GiB + p.CPU*o.CPU
}
