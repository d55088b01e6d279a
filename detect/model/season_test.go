package model

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fcnode/fcnode/detect/sleep"
)

// TestOperationalTime runs fast in the hours in which many come, as fast as the clock on average, and is turned back into the
// clock's.
func TestOperationalTime(t *testing.T) {
	for _, hours := range []int{24, weekHours} {
		s := season{hours: hours}
		rnd := rand.New(rand.NewPCG(1, 72))
		const day = 86400.0
		for at := 0.0; at < 42*day; at += rnd.ExpFloat64() * 20 {
			if rnd.Float64()*busiest < busy(at) {
				s.visit(at)
			}
		}
		from := 35 * day
		if noon, night := s.at(from+16*3600)-s.at(from+15*3600), s.at(from+4*3600)-s.at(from+3*3600); noon < 3*night || night <= 0 {
			t.Errorf("%d hours: an hour at noon is %v s, one at night %v s", hours, noon, night)
		}
		if week := s.at(from+7*day) - s.at(from); math.Abs(week-7*day) > 1 {
			t.Errorf("%d hours: a week is %v s", hours, week)
		}
		for _, op := range []float64{1, 3000, 90_000, 5 * day} {
			after := s.until(from, op)
			if got := s.at(from+after) - s.at(from); math.Abs(got-op) > 1e-3 {
				t.Errorf("%d hours: %v s of op-time are %v s by the clock, which are %v s", hours, op, after, got)
			}
		}
	}
}

// TestSeasonalCostsNoMore than what it chooses from, to what the test takes to find out.
func TestSeasonalCostsNoMore(t *testing.T) {
	f := small()
	o := classOptions()
	c := NightConfig{Options: o, Over: 100 * time.Millisecond}
	p := sleep.DefaultPrices
	plain := PlayNights(c, f, NewPlanned(o, p, 0, f.Sites)).Total()
	r := NewSeasonal(o, p, 0, f.Sites, 24)
	seasonal := PlayNights(c, f, r).Total()
	if a, b := plain.Cost(p), seasonal.Cost(p); b > 1.05*a || seasonal.Requests != plain.Requests {
		t.Errorf("it costs %v, it was %v", b, a)
	}
	if r.All == 0 || r.Followed > r.All {
		t.Errorf("%d of %d", r.Followed, r.All)
	}
}

// TestSeasonPaysWhereThereIsOne: visitors who come at random, all of them mostly by day.
func TestSeasonPaysWhereThereIsOne(t *testing.T) {
	m := fleetMaker{f: Fleet{Name: "days", Span: 21 * 86400}}
	for s := range 20 {
		m.site(s)
		rnd := rand.New(rand.NewPCG(5, uint64(s)))
		visits := min(20*math.Exp(1.5*rnd.NormFloat64()), 1000)
		for at := 0.0; ; {
			if at += rnd.ExpFloat64() * 86400 / visits / 2; at >= m.f.Span {
				break
			}
			if rnd.Float64()*2 < 1+0.95*math.Sin(2*math.Pi*(math.Mod(at/3600, 24)-9)/24) {
				m.request(at)
			}
		}
	}
	f, o, p := m.done(), classOptions(), sleep.DefaultPrices
	c := NightConfig{Options: o, Over: 100 * time.Millisecond}
	plain := PlayNights(c, f, NewPlanned(o, p, 0, f.Sites)).Total()
	r := NewSeasonal(o, p, 0, f.Sites, 24)
	seasonal := PlayNights(c, f, r).Total()
	if a, b := plain.Cost(p), seasonal.Cost(p); b > 0.995*a || r.Followed == 0 {
		t.Errorf("by season it costs %v, by the clock %v; %d of %d pauses were planned by it", b, a, r.Followed, r.All)
	}
}
