package node

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/site"
)

func TestDueIn(t *testing.T) {
	ladder := []site.Rung{{Tier: detect.TierFrozen, After: 10 * time.Second}, {Tier: detect.TierCold, After: time.Hour}}
	for _, c := range []struct {
		name     string
		at       detect.Tier
		idle     time.Duration
		min, max time.Duration
		none     bool
	}{
		{"busy a moment ago", detect.TierRunning, time.Second, 9 * time.Second, 9 * time.Second, false},
		{"overdue: soon, not all at once", detect.TierRunning, time.Minute, 0, 10 * time.Second, false},
		{"on a rung, waits for the next", detect.TierFrozen, time.Minute, 59 * time.Minute, 59 * time.Minute, false},
		{"long overdue", detect.TierFrozen, 5 * time.Hour, 0, ladderEvery, false},
		{"on a tier that the ladder does not have any more", detect.TierReclaimed, 30 * time.Minute, 30 * time.Minute, 30 * time.Minute, false},
		{"at the end", detect.TierCold, 5 * time.Hour, 0, 0, true},
	} {
		after, ok := dueIn(ladder, c.at, c.idle)
		if ok == c.none || after < c.min || after > c.max {
			t.Errorf("%s: %s, %v", c.name, after, ok)
		}
	}
}

// TestGivenUpForAWhile: a tier that was given up is on the ladder again when its time has
// passed, which newLadders finds out.
func TestGivenUpForAWhile(t *testing.T) {
	x, now := newExperience(), time.Now()
	in := ladderInput{
		spec: parseSite(t, "idle: 1s, tiers: [frozen, {tier: checkpointed, after: 10s}]"), experience: x,
		can: func(detect.Tier, bool) error { return nil }, pressure: 1,
	}
	has := func(at time.Time) bool {
		in.now = at
		for _, r := range in.choose().Rungs {
			if r.Tier == detect.TierCheckpointed {
				return true
			}
		}
		return false
	}
	x.tier(detect.TierCheckpointed).failed(now, "it could not be dumped")
	if has(now) || !has(now.Add(giveUpMin)) {
		t.Errorf("right after the failure it is on the ladder: %v; a minute later: %v", has(now), has(now.Add(giveUpMin)))
	}
}

// TestCRIUIsWaitedFor: until it is known the tier may be hoped for, and who needs it waits.
func TestCRIUIsWaitedFor(t *testing.T) {
	c := &criuState{known: make(chan struct{})}
	if err := c.get(); err != nil {
		t.Errorf("not known yet: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	called := errors.New("called back")
	cancel(called)
	if err := c.wait(ctx); !errors.Is(err, called) {
		t.Errorf("waiting in vain: %v", err)
	}
	none := errors.New("there is none")
	waited := make(chan error)
	go func() { waited <- c.wait(t.Context()) }()
	c.set(none)
	if err := <-waited; !errors.Is(err, none) {
		t.Errorf("it waited, and got %v", err)
	}
}

// BenchmarkLadder is what looking at one site's ladder costs, once every ladderEvery.
func BenchmarkLadder(b *testing.B) {
	x := newExperience()
	for range wakesKept {
		x.tier(detect.TierFrozen).woke(time.Millisecond)
		x.tier(detect.TierCold).woke(time.Second)
		x.tier(detect.TierCheckpointed).woke(100 * time.Millisecond)
	}
	in := ladderInput{spec: parseSite(b, "idle: auto"), experience: x, can: func(detect.Tier, bool) error { return nil }, now: time.Now(), pressure: 2}
	for b.Loop() {
		in.choose()
	}
}
