package change

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestRateFindsRateAndOverdispersion(t *testing.T) {
	for _, c := range []struct {
		rate float64
		page int
		day  float64 // how much the rate swings
	}{
		{20, 1, 0}, {20, 5, 0}, {0.5, 4, 0}, {20, 5, 0.8},
	} {
		rnd := rand.New(rand.NewPCG(1, 14))
		r := Rate{HalfLife: time.Hour}
		for second := range 4 * 3600 {
			mean := c.rate * (1 + c.day*math.Sin(2*math.Pi*float64(second)/86400))
			r.Add(float64(c.page*poissonCount(rnd, mean/float64(c.page))), time.Second)
		}
		if c.day == 0 && math.Abs(r.Lambda()-c.rate) > 0.1*c.rate {
			t.Errorf("%+v: rate %v", c, r.Lambda())
		}
		if phi := r.Phi(); math.Abs(phi-float64(c.page)) > 0.25*float64(c.page) {
			t.Errorf("%+v: φ %v", c, phi)
		}
	}
}

func TestNormalFreezesWhileAlarming(t *testing.T) {
	var n Normal
	if _, changed := n.Changed(); !changed {
		t.Error("the kernel is told nothing at first")
	}
	if b := n.Baseline(); b.Lambda != MaxLambda || n.Known() {
		t.Errorf("normal before anything is known: %+v", b)
	}
	feed := func(rate float64, length time.Duration, alarming bool) {
		for range int(length / time.Second) {
			n.Observe(rate, time.Second, alarming)
		}
	}
	feed(10, 20*time.Minute, false)
	b, changed := n.Changed()
	if !changed || math.Abs(b.Lambda-10) > 1 {
		t.Fatalf("after twenty minutes of 10/s: %+v, %v", b, changed)
	}
	feed(11, time.Minute, false)
	if _, changed := n.Changed(); changed {
		t.Error("told again for a change of a few percent")
	}
	feed(100, 9*time.Minute, true)
	if b := n.Baseline(); b.Lambda > 12 {
		t.Errorf("learned %v/s while alarming", b.Lambda)
	}
	feed(100, 2*time.Minute, true)
	if b, changed := n.Changed(); !changed || b.Lambda < 80 {
		t.Errorf("a load that stays did not become normal: %+v", b)
	}
}

func TestNormalHasAFloor(t *testing.T) {
	n := Normal{}
	for range 3600 {
		n.Observe(0, time.Second, false)
	}
	if b := n.Baseline(); b.Lambda != 1 {
		t.Errorf("an idle site's baseline is %v/s", b.Lambda)
	}
}

func FuzzRate(f *testing.F) {
	f.Add(1.0, int64(1e9), 3.0, int64(5e9))
	f.Add(math.NaN(), int64(-5), math.Inf(1), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, n float64, span int64, m float64, other int64) {
		r := Rate{HalfLife: time.Duration(other)}
		for range 5 {
			r.Add(n, time.Duration(span))
			r.Add(m, time.Duration(other))
		}
		if l, p := r.Lambda(), r.Phi(); !(l >= 0) || math.IsInf(l, 0) || !(p >= 1 && p <= MaxPhi) {
			t.Fatalf("rate %v, φ %v", l, p)
		}
	})
}

// poissonCount is a Poisson number of this mean.
func poissonCount(rnd *rand.Rand, mean float64) int {
	n := 0
	for sum := rnd.ExpFloat64(); sum < mean; sum += rnd.ExpFloat64() {
		n++
	}
	return n
}
