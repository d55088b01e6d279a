package model

import (
	"math"
	"time"

	"github.com/fcnode/fcnode/detect/internal/figure"
)

// The rules that Scaler is compared with. Both look at averages of the connections in
// flight and answer how many replicas there shall be; they know nothing of limits.

// KnativeRule decides as Knative's pod autoscaler does by default: every 2 s, from the mean of
// the last 60 s, and in panic from the mean of the last 6 s, when that asks for twice what there is. In
// panic it never goes down; panic ends when it was not asked for during 60 s.
type KnativeRule struct {
	Target float64 // connections a replica
	Max    int

	seconds [61]float64 // sums of what was seen in a second; the last one is not over yet
	counts  [61]int
	now     int64
	last    time.Duration
	begun   bool
	panicAt time.Duration
	panics  bool
	most    int // asked for during a panic
}

const (
	kpaTick   = 2 * time.Second
	kpaStable = 60
	kpaPanic  = 6
	kpaFactor = 2    // panic when so many times the replicas are asked for
	kpaGrow   = 1000 // at most so many times the replicas in one step
	kpaShrink = 2
)

// Observe tells the connections in flight at a moment; at least once a second.
func (k *KnativeRule) Observe(at time.Duration, conns float64) {
	second := int64(at / time.Second)
	for ; k.now < second; k.now++ {
		if second-k.now > int64(len(k.seconds)) {
			k.now = second - int64(len(k.seconds))
		}
		slot := (k.now + 1) % int64(len(k.seconds))
		k.seconds[slot], k.counts[slot] = 0, 0
	}
	slot := second % int64(len(k.seconds))
	k.seconds[slot] += figure.Positive(conns)
	k.counts[slot]++
}

// mean of the last n whole seconds that were seen.
func (k *KnativeRule) mean(n int64) float64 {
	var sum, seen float64
	for i := int64(1); i <= min(n, k.now); i++ {
		slot := (k.now - i) % int64(len(k.seconds))
		if k.counts[slot] > 0 {
			sum += k.seconds[slot] / float64(k.counts[slot])
			seen++
		}
	}
	if seen == 0 {
		return 0
	}
	return sum / seen
}

// Decide returns how many replicas there shall be, given how many serve; it changes its
// mind at its ticks only.
func (k *KnativeRule) Decide(at time.Duration, ready int) int {
	ready = max(1, ready)
	if k.begun && at-k.last < kpaTick {
		return ready
	}
	k.begun, k.last = true, at
	desire := func(mean float64) int {
		low, high := max(1, ready/kpaShrink), ready*kpaGrow
		return min(max(int(math.Ceil(figure.Clamp(mean/max(k.Target, 1e-9), 0, 1e6, 0))), low), high)
	}
	stable, urgent := desire(k.mean(kpaStable)), desire(k.mean(kpaPanic))
	if float64(urgent)/float64(ready) >= kpaFactor {
		if !k.panics {
			k.most = 0
		}
		k.panics, k.panicAt = true, at
	} else if k.panics && at-k.panicAt >= kpaStable*time.Second {
		k.panics = false
	}
	want := stable
	if k.panics {
		k.most = max(k.most, urgent, ready)
		want = k.most
	}
	return min(max(1, want), max(1, k.Max))
}

// AverageRule decides as the production system of the FastContainer papers does: every 15 s
// one value is collected, and the mean of the last 3 minutes is held against the target.
type AverageRule struct {
	Target float64
	Max    int

	values [averagesKept]float64
	seen   int
	last   time.Duration
}

const (
	averagesEvery = 15 * time.Second
	averagesKept  = 12 // 3 minutes
)

// Decide is told the connections in flight, and returns how many replicas there shall
// be; it looks at its own moments only.
func (a *AverageRule) Decide(at time.Duration, conns float64, ready int) int {
	ready = max(1, ready)
	if a.seen > 0 && at-a.last < averagesEvery {
		return ready
	}
	a.last = at
	a.values[a.seen%averagesKept] = figure.Positive(conns)
	a.seen++
	n := min(a.seen, averagesKept)
	var sum float64
	for _, v := range a.values[:n] {
		sum += v
	}
	want := math.Ceil(sum / float64(n) / max(a.Target, 1e-9))
	return int(figure.Clamp(want, 1, float64(max(1, a.Max)), 1))
}
