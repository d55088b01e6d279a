package model

import (
	"slices"
	"testing"
	"time"

	"github.com/fcnode/fcnode/detect/sleep"
)

// TestRouse: a site that is woken beside another runs for some seconds, whatever its plan had it do meanwhile, and is then where
// it would have been.
func TestRouse(t *testing.T) {
	for _, c := range []struct {
		moves []Move
		want  []Move
	}{
		{[]Move{{2, 3}}, []Move{{2, 3}, {10, 0}, {16, 3}}},
		{[]Move{{2, 1}, {12, 3}}, []Move{{2, 1}, {10, 0}, {16, 3}}},
		{[]Move{{2, 1}, {16, 3}}, []Move{{2, 1}, {10, 0}, {16, 3}}},
		{[]Move{{2, 1}, {10, 2}, {20, 4}}, []Move{{2, 1}, {10, 2}, {10, 0}, {16, 2}, {20, 4}}},
	} {
		n := Night{Moves: slices.Clone(c.moves)}
		n.rouse(10, 6)
		if !slices.Equal(n.Moves, c.want) || n.roused != 16 {
			t.Errorf("%v became %v until %v, want %v", c.moves, n.Moves, n.roused, c.want)
		}
	}
}

// behind sleeps cold at once, and has site 1 woken beside site 0.
type behind struct{}

func (behind) Idle(_ int, _, _ float64, n *Night) { n.Moves = append(n.Moves, Move{quiet, 1}) }
func (behind) Woke(int, float64, float64, Met)    {}
func (behind) Woken(site int, _ float64, slept bool, at func(int) int) []int {
	if site == 0 && slept && at(1) == 1 {
		return []int{1}
	}
	return nil
}

// TestWokenBesideWaitsForTheRest of its wake, and what nobody follows costs the time that it is awake.
func TestWokenBesideWaitsForTheRest(t *testing.T) {
	m := fleetMaker{f: Fleet{Name: "pair", Span: 1000}}
	m.site(0)
	for _, at := range []float64{0, 100, 200} {
		m.request(at)
	}
	m.site(1)
	for _, at := range []float64{0, 100.25} { // and after 200 nobody
		m.request(at)
	}
	options := []sleep.Option{{Memory: 1 << 30}, {Wake: time.Second}}
	r := PlayNights(NightConfig{Options: options, Over: 100 * time.Millisecond}, m.done(), behind{})
	b := r.Sites[1]
	if b.Beside != 2 || b.Followed != 1 || b.Waited < 0.749 || b.Waited > 0.751 {
		t.Errorf("%+v", b)
	}
	// Two seconds after each of its two visits, a quarter of a second before the second, six for nothing.
	if want := 2*quiet + 0.25 + sleep.BesideFor.Seconds(); b.Memory < want-1e-6 || b.Memory > want+1e-6 {
		t.Errorf("it was awake for %v s, want %v", b.Memory, want)
	}
}

// TestChainsFollowEachOther, as they are made to; without cascades nothing of that is known.
func TestChainsFollowEachOther(t *testing.T) {
	f := Chains("chains", 12, 14, 3)
	o := []sleep.Option{{Memory: 1 << 30}, {Wake: 750 * time.Millisecond}}
	p := sleep.DefaultPrices
	p.Visit = 60
	play := func(c *sleep.Cascades) Bill {
		r := NewPlanned(o, p, 0, f.Sites)
		r.Cascades = c
		return PlayNights(NightConfig{Options: o, Over: 100 * time.Millisecond}, f, r).Total()
	}
	without, with := play(nil), play(sleep.NewCascades())
	if without.Beside != 0 || with.Beside == 0 || with.Followed < with.Beside/4 {
		t.Errorf("without %v, with %v were woken beside another, of whom %v were visited", without.Beside, with.Beside, with.Followed)
	}
	if with.Cost(p) >= without.Cost(p) || with.Late >= without.Late {
		t.Errorf("cost %v, it was %v; %v late, it was %v", with.Cost(p), without.Cost(p), with.Late, without.Late)
	}
}
