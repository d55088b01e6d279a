package sleep

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestGaps(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 15))
	var g Gaps
	if g.Quantile(0.5) != 0 || g.IdleFor(0.01) != 0 || g.Residual(time.Second) != 0 {
		t.Error("an empty histogram says something")
	}
	for range 20_000 {
		g.Add(time.Duration(rnd.ExpFloat64() * 60e9))
	}
	for _, q := range []float64{0.5, 0.9, 0.99} {
		want := -60 * math.Log(1-q)
		if got := g.Quantile(q).Seconds(); got < want*0.9 || got > want*1.5 {
			t.Errorf("quantile %v is %v s, it should be %v or a little more", q, got, want)
		}
	}
	if r := g.Residual(30 * time.Second).Seconds(); math.Abs(r-60) > 15 {
		t.Errorf("a memoryless pause of mean 60 s lasts %v s more", r)
	}
	if g.Count() != 20_000 {
		t.Errorf("%d gaps", g.Count())
	}
	// Ten requests after each gap: the same share of the requests allows more gaps.
	alone := g.IdleFor(0.01)
	g.Served(200_000)
	if many := g.IdleFor(0.01); many >= alone {
		t.Errorf("idle for %v, with ten requests a gap %v", alone, many)
	}
	for range 20_000 {
		g.Add(time.Second)
	}
	if q := g.Quantile(0.9); q > 2*time.Second {
		t.Errorf("old gaps do not fade: %v", q)
	}
}

func FuzzGaps(f *testing.F) {
	f.Add(uint64(1), int64(1), 0.5)
	f.Add(uint64(2), int64(math.MaxInt64), math.NaN())
	f.Fuzz(func(t *testing.T, seed uint64, gap int64, q float64) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		var g Gaps
		for range 50 {
			g.Add(time.Duration(gap >> rnd.IntN(63)))
			g.Served(rnd.Uint64())
		}
		a, b := g.Quantile(q), g.Quantile(q+0.1)
		if a < 0 || b < a && !math.IsNaN(q) {
			t.Fatalf("quantiles %v, %v", a, b)
		}
		if g.IdleFor(q) < 0 || g.Residual(time.Duration(gap)) < 0 {
			t.Fatal("negative")
		}
	})
}
