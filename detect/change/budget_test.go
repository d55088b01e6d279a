package change

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// A node of many sites has as many false alarms as it was allowed, however its visitors
// are spread over them.
func TestNodeARL0IsANodesBudget(t *testing.T) {
	const perDay, allowed = 200_000.0, 20.0
	shares := []float64{0.5, 0.2, 0.1, 0.1, 0.05, 0.03, 0.02}
	arl0 := NodeARL0(perDay, allowed)
	if arl0 != 10_000 {
		t.Fatalf("%v arrivals between two false alarms", arl0)
	}
	rnd := rand.New(rand.NewPCG(1, 61))
	alarms := 0
	const days = 5
	for _, share := range shares {
		rate := share * perDay / 86400
		p := Baseline{Lambda: rate, Phi: 1, ARL0: arl0}.Params()
		var s CusumState
		now := uint64(1) << 50
		for range int(days * share * perDay) {
			now += uint64(rnd.ExpFloat64() / rate * 1e9)
			if s.Arrival(&p, now) != 0 {
				alarms++
			}
		}
	}
	if perNode := float64(alarms) / days; perNode > allowed {
		t.Errorf("%v false alarms a day on the node, %v were allowed", perNode, allowed)
	}
	if alarms == 0 {
		t.Error("no false alarm at all: the bound says nothing")
	}
}

func TestNodeARL0IsBounded(t *testing.T) {
	for _, c := range [][2]float64{{0, 1}, {1e300, 0}, {math.NaN(), math.NaN()}, {math.Inf(1), -1}, {5, math.Inf(1)}} {
		if v := NodeARL0(c[0], c[1]); !(v >= 10 && v <= MaxARL0) {
			t.Errorf("%v: %v", c, v)
		}
	}
	// Fewer alarms allowed means a later alarm, never a sooner one.
	var delays []time.Duration
	for _, a := range []float64{100, 10, 1, 0.1} {
		delays = append(delays, Baseline{Lambda: 1, Phi: 1, ARL0: NodeARL0(1e5, a)}.Delay(4))
	}
	if !slices.IsSorted(delays) {
		t.Errorf("delays %v", delays)
	}
}
