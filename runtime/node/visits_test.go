package node

import (
	"errors"
	"testing"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/spec"
)

// TestVisitorsSteerTheLadder: wakes that visitors noticed too often make the site sleep
// later, and quiet times sooner; without an objective they change nothing.
func TestVisitorsSteerTheLadder(t *testing.T) {
	first := func(s *spec.Site, x *experience) time.Duration {
		only := func(t detect.Tier, _ bool) error {
			if t != detect.TierCold {
				return errors.New("this machine cannot")
			}
			return nil
		}
		in := ladderInput{spec: s, experience: x, can: only, now: time.Unix(0, 0), pressure: 1000}
		c := in.choose()
		if len(c.Rungs) == 0 {
			t.Fatalf("no rung: %+v", c)
		}
		return c.Rungs[0].After
	}
	steered := parseSite(t, "objective: {cold: 1%}, idle: 1s")
	plain := parseSite(t, "idle: 1s")
	x := newExperience()
	for range 50 {
		x.woke(10, 400*time.Millisecond, time.Minute, 0.01) // one in ten
	}
	often := first(steered, x)
	before := first(plain, x)
	for range 50 {
		x.woke(1000, 400*time.Millisecond, 100*time.Minute, 0.01) // one in a thousand
	}
	if seldom := first(steered, x); seldom >= often {
		t.Errorf("sleeps after %v when one in ten was cold, and after %v when one in a thousand was", often, seldom)
	}
	if got := first(plain, x); got != before {
		t.Errorf("without an objective: %v, then %v", before, got)
	}
	x = newExperience()
	for range 50 {
		x.woke(10, time.Millisecond, time.Minute, 0.01)
	}
	if x.Visitors.Asleep != 0 {
		t.Error("a wake of a millisecond counts as cold")
	}
}

func TestConnectionsAreCountedOnce(t *testing.T) {
	e := &entry{active: &active{spec: parseSite(t, "objective: {cold: 1%}")}}
	a, b := &replica{}, &replica{}
	e.came(a, 5)
	e.came(a, 5)
	e.came(b, 7)
	e.came(a, 8)
	if got := e.past().came; got != 15 {
		t.Errorf("%d connections, 15 came", got)
	}
	quiet := &entry{active: &active{spec: parseSite(t, "idle: 1m")}}
	if quiet.came(a, 100); quiet.history != nil {
		t.Error("memory is spent on a site without an objective")
	}
}
