package detect

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
		t.Errorf("old gaps are not forgotten: %v", q)
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

func TestComparedRules(t *testing.T) {
	k := KPA{Target: 10, Max: 20}
	at, ready := time.Duration(0), 1
	feed := func(conns float64, length time.Duration) (changed time.Duration) {
		start, first := at, time.Duration(-1)
		for ; at < start+length; at += 100 * time.Millisecond {
			k.Observe(at, conns)
			if want := k.Decide(at, ready); want != ready {
				if ready = want; first < 0 {
					first = at - start
				}
			}
		}
		return first
	}
	if feed(8, 2*time.Minute); ready != 1 {
		t.Errorf("%d replicas for 8 connections", ready)
	}
	if took := feed(100, 20*time.Second); ready != 10 || took < time.Second || took > 5*time.Second {
		t.Errorf("%d replicas for 100 connections, begun after %v", ready, took)
	}
	if feed(100, 2*time.Minute); ready != 10 {
		t.Errorf("%d replicas for 100 connections after two minutes", ready)
	}
	if took := feed(8, 3*time.Minute); ready != 1 || took < 5*time.Second {
		t.Errorf("%d replicas when the crowd is gone, begun after %v", ready, took)
	}
	// It grows slowly below the panic threshold: the stable mean decides.
	feed(35, 3*time.Minute)
	if took := feed(45, 2*time.Minute); ready != 5 || took < 10*time.Second {
		t.Errorf("%d replicas for 45 connections, begun after %v", ready, took)
	}

	a := Averages{Target: 10, Max: 20}
	first := time.Duration(-1)
	for at := time.Duration(0); at < 10*time.Minute; at += time.Second {
		conns := 5.0
		if at >= 4*time.Minute {
			conns = 40
		}
		if n := a.Decide(at, conns, 1); n > 1 && first < 0 {
			first = at - 4*time.Minute
		}
	}
	if first < 15*time.Second || first > 90*time.Second {
		t.Errorf("averages of three minutes saw eight times the load after %v", first)
	}
}
