package sleep

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// TestByTheClock: a monitor is found though each second visit of its was not noticed and it is late by
// a second or two; people are not, and neither is a monitor that hides among as many of them.
func TestByTheClock(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	monitor := func(every time.Duration, jitter float64, seen float64) (at []time.Duration) {
		for i := range 60 {
			if rnd.Float64() < seen {
				at = append(at, time.Duration(i)*every+time.Duration(jitter*rnd.Float64()*1e9))
			}
		}
		return at
	}
	for name, c := range map[string]struct {
		every  time.Duration
		jitter float64
		seen   float64
	}{
		"each visit": {5 * time.Minute, 2, 1}, "half of them": {5 * time.Minute, 2, 0.5}, "a minute": {time.Minute, 0.5, 1},
		"a day": {24 * time.Hour, 2, 0.9},
	} {
		got, ok := ByTheClock(monitor(c.every, c.jitter, c.seen))
		if off := got.Every - c.every; !ok || off > time.Second || off < -time.Second || got.Jitter > time.Duration(c.jitter*1e9) {
			t.Errorf("%s: every %v ± %v (%v), want %v", name, got.Every, got.Jitter, ok, c.every)
		}
	}
	found := 0
	for range 200 {
		var people []time.Duration
		at := 0.0
		for range 30 {
			at += 600 * rnd.ExpFloat64()
			people = append(people, time.Duration(at*1e9))
		}
		if _, ok := ByTheClock(people); ok {
			found++
		}
	}
	if found > 2 {
		t.Errorf("of 200 people %d come by the clock", found)
	}
	for _, few := range [][]time.Duration{nil, {1}, {0, 0, 0, 0, 0, 0}, {0, 1 << 62, 0, -1 << 62, 5}} {
		if c, ok := ByTheClock(few); ok {
			t.Errorf("%v: %+v", few, c)
		}
	}
}

// TestUsual: what most pauses are like, where most are like something.
func TestUsual(t *testing.T) {
	var p Pauses
	if _, _, share := p.Usual(); share != 0 {
		t.Error("none are usual")
	}
	for range 40 {
		p.Add(297 * time.Second)
	}
	for i := range 10 {
		p.Add(time.Duration(i+1) * time.Hour)
	}
	from, to, share := p.Usual()
	if share != 0.8 || from > 297*time.Second || to < 297*time.Second || to > 2*from {
		t.Errorf("%v to %v: %v", from, to, share)
	}
	if m := p.Quantile(0.5); m < from || m > to {
		t.Errorf("the median is %v, most lie between %v and %v", m, from, to)
	}
}

// TestUsualAmongTheShortest: the shortest pauses count once, as others do.
func TestUsualAmongTheShortest(t *testing.T) {
	var p Pauses
	p[0], p[30], p[31] = 10, 8, 7
	if from, to, share := p.Usual(); share != 0.6 || from != Edge(30) || to != Edge(32) {
		t.Errorf("%v to %v: %v", from, to, share)
	}
	p = Pauses{20}
	if from, to, share := p.Usual(); share != 1 || from != Edge(0) || to != Edge(1) {
		t.Errorf("%v to %v: %v", from, to, share)
	}
}

// TestAlternatives: the cheapest of them for a pause is what hindsight pays for it, by the table that plans
// are made with.
func TestAlternatives(t *testing.T) {
	options := page()
	var p Planner
	p.Use(options, DefaultPrices)
	for pause := 2 * time.Second; pause < 20*24*time.Hour; pause = pause * 5 / 4 {
		all := Alternatives(pause, options, DefaultPrices)
		best := 0
		for i, a := range all {
			if a.Cost < all[best].Cost {
				best = i
			}
			if a.Cost < a.Hold || a.Wait != options[i].Wake {
				t.Errorf("%v on %s: %+v", pause, options[i].Tier, a)
			}
		}
		if known := p.Hindsight(pause); math.Abs(all[best].Cost-known) > 1e-9*known {
			t.Errorf("%v: %s costs %v, hindsight pays %v", pause, options[best].Tier, all[best].Cost, known)
		}
	}
}

// TestComes: half of the visitors who are still to come have come by then.
func TestComes(t *testing.T) {
	var p Planner
	var s State
	if unknown := p.Comes(&s, 0); unknown < time.Minute || unknown > 24*time.Hour {
		t.Errorf("to a site of which nothing is known somebody comes after %v", unknown)
	}
	for range 60 {
		s.Pauses.Add(4 * time.Second)
	}
	for range 40 {
		s.Pauses.Add(10 * time.Hour)
	}
	if soon := p.Comes(&s, 0); soon < 3*time.Second || soon > 6*time.Second {
		t.Errorf("after %v", soon)
	}
	for _, idle := range []time.Duration{time.Minute, 5 * time.Hour} {
		if late := p.Comes(&s, idle); late < 8*time.Hour || late > 13*time.Hour {
			t.Errorf("after %v, when it has been idle for %v", late, idle)
		}
	}
	if never := p.Comes(&s, 100*24*time.Hour); never < 100*24*time.Hour {
		t.Errorf("after %v", never)
	}
}
