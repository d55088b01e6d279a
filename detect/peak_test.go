package detect

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestPeakIsTheLargestOfItsWindow(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 16))
	const window = 8 * time.Second
	var p peak
	type sample struct {
		at time.Duration
		v  float64
	}
	var all []sample
	at := time.Duration(0)
	for range 5000 {
		at += time.Duration(rnd.Int64N(int64(window / 4)))
		v := rnd.ExpFloat64()
		all = append(all, sample{at, v})
		got, full := p.add(at, window, v)
		var least, most float64
		for _, s := range all {
			if s.at > at-window*7/8 {
				least = max(least, s.v)
			}
			if s.at > at-window*9/8 {
				most = max(most, s.v)
			}
		}
		if got < least || got > most {
			t.Fatalf("at %v: %v, between %v and %v is right", at, got, least, most)
		}
		if full != (at-all[0].at >= window) {
			t.Fatalf("at %v: full is %v", at, full)
		}
	}
}
