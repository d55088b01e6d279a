package detect

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/fcnode/fcnode/detect/internal/figure"
)

func TestFairShare(t *testing.T) {
	for _, c := range []struct {
		name   string
		budget float64
		claims []Claim
		want   []float64
	}{
		{"enough for all", 10, []Claim{{Want: 3}, {Want: 4}}, []float64{3, 4}},
		{"halves", 8, []Claim{{Want: 9}, {Want: 9}}, []float64{4, 4}},
		{"what one does not want the others get", 9, []Claim{{Want: 1}, {Want: 9}, {Want: 9}}, []float64{1, 4, 4}},
		{"by weight", 9, []Claim{{Weight: 2, Want: 9}, {Want: 9}}, []float64{6, 3}},
		{"minima first", 8, []Claim{{Min: 4, Want: 8}, {Min: 2, Want: 8}}, []float64{5, 3}},
		{"minima are promised", 2, []Claim{{Min: 4, Want: 8}, {Min: 2, Want: 2}}, []float64{4, 2}},
		{"nothing", 0, nil, []float64{}},
		{"nonsense", math.NaN(), []Claim{{Want: math.Inf(1), Weight: math.NaN()}}, []float64{0}},
	} {
		if got := FairShare(c.budget, c.claims); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func FuzzFairShare(f *testing.F) {
	f.Add(uint64(1), 10.0)
	f.Add(uint64(7), math.Inf(1))
	f.Fuzz(func(t *testing.T, seed uint64, budget float64) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		claims := make([]Claim, rnd.IntN(20))
		for i := range claims {
			claims[i] = Claim{Weight: rnd.ExpFloat64() * 3, Min: math.Round(rnd.ExpFloat64()), Want: rnd.ExpFloat64() * 8}
		}
		got := FairShare(budget, claims)
		var sum, minima float64
		for i, g := range got {
			if math.IsNaN(g) || g < claims[i].Min || g > claims[i].want()*(1+1e-9) {
				t.Fatalf("claim %+v got %v", claims[i], g)
			}
			sum += g
			minima += claims[i].Min
		}
		if limit := max(figure.Positive(budget), minima); sum > limit*(1+1e-9)+1e-9 {
			t.Fatalf("%v given of %v", sum, limit)
		}
		// More to divide makes nobody poorer.
		for i, more := range FairShare(figure.Positive(budget)+1, claims) {
			if more < got[i]-1e-9*max(1, got[i]) {
				t.Fatalf("with more to divide %d got %v instead of %v", i, more, got[i])
			}
		}
		// Nobody who is short got less for its weight than somebody else got beyond its minimum.
		for i := range got {
			if got[i] > claims[i].want()*(1-1e-9) {
				continue
			}
			for j := range got {
				mine, theirs := (got[i]-claims[i].Min)/claims[i].weight(), (got[j]-claims[j].Min)/claims[j].weight()
				if theirs > mine*(1+1e-6)+1e-9 {
					t.Fatalf("%+v got %v, while %+v got %v", claims[i], got[i], claims[j], got[j])
				}
			}
		}
	})
}

func TestLimitsPolicy(t *testing.T) {
	var p LimitsPolicy
	l := Limit{Now: 1, Min: 0.5, Max: 4}
	if got := p.Raise(l, 0); got != 2 {
		t.Errorf("one step: %v", got)
	}
	if got := p.Raise(l, 3.5); got != 3.5 {
		t.Errorf("as much as needed: %v", got)
	}
	if got := p.Raise(Limit{Now: 3, Min: 0.5, Max: 4}, 0); got != 4 {
		t.Errorf("to the most: %v", got)
	}
	if got := p.Burst(l); got != 4 {
		t.Errorf("burst: %v", got)
	}
	if got := p.Burst(Limit{Now: 1, Min: 0.5, Max: 4, Budget: 2.5}); got != 2.5 {
		t.Errorf("burst within a budget: %v", got)
	}
	if to, worth := p.Lower(Limit{Now: 4, Min: 0.5, Max: 4}, 1, headroom); to != 1.5 || !worth {
		t.Errorf("lower to %v, %v", to, worth)
	}
	if _, worth := p.Lower(Limit{Now: 1, Min: 0.5, Max: 4}, 0.6, headroom); worth {
		t.Error("lowered by a tenth")
	}
	if got := p.Fit(Limit{Now: 4, Min: 0.5, Max: 4, Budget: 1}, 3); got != 3 {
		t.Errorf("fit: %v, 3 are in use", got)
	}
	if got := p.Fit(Limit{Now: 4, Min: 2, Max: 4, Budget: 1}, 0.1); got != 2 {
		t.Errorf("fit: %v, 2 are promised", got)
	}
}

// No limit is ever raised above its bounds, lowered below what is in use, or not a number.
func FuzzLimitsPolicy(f *testing.F) {
	f.Add(1.0, 0.25, 4.0, 2.0, 0.0, 0.5)
	f.Add(math.NaN(), math.Inf(1), -1.0, math.Inf(1), math.NaN(), math.NaN())
	f.Fuzz(func(t *testing.T, now, least, most, step, budget, used float64) {
		var p LimitsPolicy
		l := Limit{Now: now, Min: least, Max: most, Step: step, Budget: budget}
		low, high := l.Bounds()
		if !(low >= 0 && low <= high) {
			t.Fatalf("%+v: bounds %v to %v", l, low, high)
		}
		if !l.known() {
			return
		}
		if to := p.Raise(l, used); !(to >= now && to <= max(now, high)) {
			t.Fatalf("%+v: raised to %v", l, to)
		}
		if to := p.Burst(l); !(to >= now && to <= max(now, high)) {
			t.Fatalf("%+v: burst to %v", l, to)
		}
		if to, worth := p.Lower(l, used, headroom); worth && !(to <= now && to >= min(low, now) && to >= figure.Positive(used)) {
			t.Fatalf("%+v, %v in use: lowered to %v", l, used, to)
		}
		if to := p.Fit(l, used); !(to >= min(low, now) && to >= min(figure.Positive(used), now) && to <= max(now, high)) {
			t.Fatalf("%+v, %v in use: fitted to %v", l, used, to)
		}
	})
}
