package sleep

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// TestPriceHoldsTheShare: requests whose chance to be late falls with the price, by day
// less than by night, in pages of several.
func TestPriceHoldsTheShare(t *testing.T) {
	for _, share := range []float64{0.05, 0.01, 0.005} {
		for _, right := range []float64{20, 600, 20_000} {
			for _, perDay := range []float64{20_000, 80_000} {
				rnd := rand.New(rand.NewPCG(1, 58))
				var p Price
				var requests, late float64
				gap := 24 * time.Hour.Seconds() / perDay * 4
				const days = 7
				for n := range int(days * perDay / 4) {
					at := float64(n) * gap
					night := 1 + 0.5*math.Sin(2*math.Pi*at/86400)
					chance := min(1, share*night*math.Pow(right/p.Visit(), 0.6))
					l := uint64(0)
					if rnd.Float64() < chance {
						l = 4
					}
					p.Observe(seconds(gap), 4, l, share, false)
					if at > 86400 {
						requests, late = requests+4, late+float64(l)
					}
				}
				if got := late / requests / share; got > 1.07 || got < 0.9 {
					t.Errorf("share %v, right price %v, %v a day: held %.3f of it; the price is %.0f", share, right, perDay, got, p.Visit())
				}
			}
		}
	}
}

func TestPriceIsBoundedAndNotWoundUp(t *testing.T) {
	var p Price
	for range 100_000 {
		p.Observe(time.Second, 10, 10, 0.01, true)
	}
	if p.Visit() != firstVisit {
		t.Errorf("while memory is the bound the price rose to %v", p.Visit())
	}
	p.Observe(time.Second, 100_000, 0, 0.01, true)
	if p.Visit() >= firstVisit {
		t.Error("it may fall meanwhile, and does not")
	}
	for range 1_000_000 {
		p.Observe(time.Second, 10, 10, 0.01, false)
	}
	if p.Visit() != maxVisit {
		t.Errorf("%v is beyond the bound, or short of it", p.Visit())
	}
	for range 1_000_000 {
		p.Observe(time.Second, 10, 0, 0.01, false)
	}
	if p.Visit() != minVisit {
		t.Errorf("%v is beyond the bound, or short of it", p.Visit())
	}
}

func FuzzPrice(f *testing.F) {
	f.Add(600.0, 1.0, 1.0, 1.0, int64(1), uint64(5), uint64(9), 0.01)
	f.Add(math.NaN(), math.Inf(1), -1.0, math.NaN(), int64(math.MinInt64), uint64(math.MaxUint64), uint64(0), math.NaN())
	f.Fuzz(func(t *testing.T, v, seen, day, part float64, since int64, requests, late uint64, share float64) {
		p := Price{V: v, Seen: seen, Day: day, Part: part}
		for range 3 {
			p.Observe(time.Duration(since), requests, late, share, false)
			if x := p.Visit(); !(x >= minVisit && x <= maxVisit) {
				t.Fatalf("price %v", x)
			}
		}
	})
}

func TestPressureFollowsTheBudget(t *testing.T) {
	var p Pressure
	p.Observe(time.Hour, 5, 0)
	if p.Memory() != 1 || p.Bound() {
		t.Error("without a budget there is pressure")
	}
	for range 60 {
		p.Observe(time.Minute, 9.9, 10)
	}
	if !p.Bound() || p.Memory() < 50 {
		t.Errorf("an hour at 99 %% of the budget: memory is %v times as dear", p.Memory())
	}
	for range 120 {
		p.Observe(time.Minute, 2, 10)
	}
	if p.Bound() || p.Memory() >= 1 {
		t.Errorf("two hours at 20 %%: memory is %v times as dear", p.Memory())
	}
	p.Observe(time.Hour, math.NaN(), 10)
	p.Observe(math.MaxInt64, math.Inf(1), 10)
	if m := p.Memory(); !(m > 0) || math.IsInf(m, 0) {
		t.Errorf("memory is %v times as dear", m)
	}
}

func TestEachIsRefusedWhereItMeansNothing(t *testing.T) {
	c := Class{Late: 0.001, Over: 50 * time.Millisecond, Each: 0.01}
	if err := c.Admit(300, page()[0]); err != nil {
		t.Error(err)
	}
	err := c.Admit(299, page()[0])
	if err == nil || !strings.Contains(err.Error(), "300") || !strings.Contains(err.Error(), "91 MiB") {
		t.Errorf("%v", err)
	}
	if err := (Class{Late: 0.01}).Admit(0, page()[0]); err != nil {
		t.Error(err)
	}
}

// A site that would be late too often pays more for itself, and holds its bound.
func TestEachIsHeld(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 59))
	c := Class{Late: 0.01, Over: 100 * ms, Each: 0.02}
	var s State
	late := 0.0
	const n = 50_000
	for range n {
		l := uint64(0)
		if rnd.Float64() < 0.2*math.Pow(s.Visit(600)/600, -0.7) {
			l = 1
			late++
		}
		c.Observe(&s, 1, l)
	}
	if got := late / n; got > 0.023 {
		t.Errorf("%.4f of its requests were late", got)
	}
	if (Class{}).Observe(&s, 1, 1); s.Own != 0 || s.Visit(600) != 600 {
		t.Error("without a bound it is dearer than its class")
	}
}
