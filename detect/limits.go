package detect

import (
	"cmp"
	"math"
	"slices"

	"github.com/fcnode/fcnode/detect/internal/figure"
)

// LimitsPolicy says where limits go. The zero value is what the node uses.
type LimitsPolicy struct{}

// The shares of a limit at which it moves.
const (
	defaultStep = 2
	fullCPU     = 0.9  // used of the limit: it is short
	headroom    = 1.5  // times the use: where a limit is lowered to
	memoryRoom  = 1.25 // the same for memory, which does not swing so much
	worthLower  = 0.75 // a limit is lowered only to less than so much of itself
)

// known says whether there is such a limit.
func (l Limit) known() bool { return l.Max > 0 && l.Now > 0 && !math.IsInf(l.Now, 0) }

// Bounds are the least and the most that the limit may be now: the spec's, and the
// node's budget, which never goes below the spec's minimum.
func (l Limit) Bounds() (low, high float64) {
	high = figure.Positive(l.Max)
	low = min(figure.Positive(l.Min), high)
	if b := figure.Positive(l.Budget); b > 0 {
		high = max(low, min(high, b))
	}
	return low, high
}

// factor of one raise.
func (l Limit) factor() float64 {
	if !(l.Step > 1) {
		return defaultStep
	}
	return min(l.Step, 1024)
}

// Raise is the next limit upwards: one step, or as much as is needed, but at most one
// may be given. It is never lower than the limit now.
func (LimitsPolicy) Raise(l Limit, need float64) float64 {
	_, high := l.Bounds()
	return max(l.Now, min(high, max(l.Now*l.factor(), figure.Positive(need))))
}

// Lower is the limit that suffices when no more than peak was used, and whether it
// is worth lowering to it. It is never below peak.
func (LimitsPolicy) Lower(l Limit, peak, room float64) (float64, bool) {
	low, _ := l.Bounds()
	to := max(low, figure.Positive(peak)*max(1, room))
	return to, to <= worthLower*l.Now
}

// Burst is the limit while a replica wakes: as much as may be given, so that the visitor
// does not wait for a throttled start.
func (LimitsPolicy) Burst(l Limit) float64 {
	_, high := l.Bounds()
	return max(l.Now, high)
}

// Fit brings a limit back within what may be given now, but never below what is in
// use: that would kill (memory) or stall (the rest).
func (LimitsPolicy) Fit(l Limit, used float64) float64 {
	low, high := l.Bounds()
	return max(min(max(l.Now, low), high), min(figure.Positive(used), max(l.Now, low)))
}

// Claim is what one site asks of the node's budget.
type Claim struct {
	Weight float64 // 0: 1
	Min    float64 // what it gets in any case
	Want   float64 // what it could use
}

// FairShare divides a budget: each claim gets its minimum; what is left goes to those
// that want more, in proportion to their weights, and what one does not want goes to the
// others (weighted max-min). No site gets more than it wants, and none gets less
// because another one wants more than its share. If the minima alone are more than there is,
// they are given all the same: the spec promised them, and cpu.weight and reclaim decide the rest.
func FairShare(budget float64, claims []Claim) []float64 {
	grants := make([]float64, len(claims))
	order := make([]int, 0, len(claims))
	left := figure.Positive(budget)
	var weights float64
	for i, c := range claims {
		grants[i] = figure.Positive(c.Min)
		left -= grants[i]
		if c.want() > grants[i] {
			order = append(order, i)
			weights += c.weight()
		}
	}
	// Water filling: whoever is satisfied by the least extra for its weight goes first.
	extra := func(i int) float64 { return (claims[i].want() - grants[i]) / claims[i].weight() }
	slices.SortFunc(order, func(a, b int) int { return cmp.Or(cmp.Compare(extra(a), extra(b)), cmp.Compare(a, b)) })
	for _, i := range order {
		if left <= 0 {
			break
		}
		w := claims[i].weight()
		share := min(claims[i].want()-grants[i], left*min(1, w/weights))
		grants[i] += share
		left -= share
		weights -= w
	}
	return grants
}

func (c Claim) weight() float64 {
	if w := figure.Positive(c.Weight); w > 0 {
		return figure.Clamp(w, 1e-6, 1e6, 1)
	}
	return 1
}

func (c Claim) want() float64 { return max(figure.Positive(c.Min), min(figure.Positive(c.Want), 1e18)) }
