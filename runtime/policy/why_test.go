package policy

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
)

// asked is a site that was visited every 41 minutes, 37 times, whose wakes were measured.
func asked(t *testing.T, p *Plans, more string) Asked {
	t.Helper()
	in := visitsOf(t, more)
	in.Plans = p
	in.Experience.Tier(detect.TierFrozen).Memory = 91 << 20
	x := in.Experience.Tier(detect.TierReclaimed)
	x.Memory = 27 << 20
	x.AddWake(92 * time.Millisecond)
	for i := range 38 {
		at := in.Now.Add(time.Duration(i) * 41 * time.Minute)
		p.Visited(in, Visits{Begin: at, End: at, Requests: 1})
	}
	return Asked{Input: in, Tier: detect.TierCheckpointed, Idle: time.Minute}
}

// TestWhy: each tier that the site may be on with what it holds, what a wake from there took, and what it
// would cost for the pause that is expected; those that it may not be on with why.
func TestWhy(t *testing.T) {
	p := openPlans(t, t.TempDir(), "")
	a := asked(t, p, "")
	a.Can = func(tier detect.Tier) error {
		if tier == detect.TierPrepared {
			return errors.New("the configuration allows none")
		}
		return nil
	}
	before := *a.Experience.State
	w := p.Why(a)
	if *a.Experience.State != before {
		t.Error("to ask has changed what is known")
	}
	if w.Pauses != 37 || w.Median < 36*time.Minute || w.Median > 46*time.Minute || w.Comes < w.Median*4/5 || w.Comes > w.Median*6/5 || w.Usual.Share < 0.9 {
		t.Errorf("%+v", w)
	}
	by := map[detect.Tier]Alternative{}
	for _, v := range w.Alternatives {
		by[v.Tier] = v
	}
	r := by[detect.TierReclaimed]
	if want := 27.0 / 1024 * w.Comes.Seconds(); r.Memory != 27<<20 || r.Wake != 92*time.Millisecond || r.Wakes != 1 || r.Hold < want || r.Hold > want*1.5 || r.Wait != r.Wake || r.Cost <= r.Hold {
		t.Errorf("reclaimed: %+v, want to hold %v", r, want)
	}
	if c := by[detect.TierCold]; c.Wakes != 0 || c.Memory != 0 || c.Cost <= 0 {
		t.Errorf("cold: %+v", c)
	}
	if c := by[detect.TierPrepared]; c.Cost >= 0 || !strings.Contains(c.Unused, "allows none") {
		t.Errorf("prepared: %+v", c)
	}
	if len(w.Alternatives) != 6 || w.Alternatives[0].Tier != detect.TierRunning {
		t.Errorf("%d tiers: %+v", len(w.Alternatives), w.Alternatives)
	}
}

// TestWhyWhileTheSiteLearns: what somebody asks about goes on meanwhile, and does not change what he is told.
func TestWhyWhileTheSiteLearns(t *testing.T) {
	p := openPlans(t, t.TempDir(), "")
	a := asked(t, p, "")
	x := a.Experience
	x.Tier(detect.TierReclaimed).AddWake(time.Second)
	x.Ended.Add(7, bpf.Load{Requests: 1})
	a.Experience = x.Clone()
	before, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	var learns sync.WaitGroup
	learns.Go(func() {
		for i := range 1000 {
			for _, tier := range detect.Tiers {
				x.Tier(tier).AddWake(time.Duration(i))
				x.Tiers[tier].GiveUp(a.Now, "it failed")
			}
			x.Pauses().Pauses.Add(time.Hour)
			x.Ended.Add(bpf.ReplicaID(i), bpf.Load{Requests: 1})
			clear(x.Tiers)
		}
	})
	for range 100 {
		p.Why(a)
	}
	learns.Wait()
	if after, err := json.Marshal(a.Experience); err != nil || string(after) != string(before) {
		t.Errorf("it was asked with\n%s, and then had\n%s (%v)", before, after, err)
	}
}

// TestWhyNamesWhoComesByTheClock: a monitor, by the wakes that are its; not the visitors between.
func TestWhyNamesWhoComesByTheClock(t *testing.T) {
	p := openPlans(t, t.TempDir(), "")
	a := asked(t, p, "")
	monitor, other := netip.MustParseAddr("::ffff:192.0.2.7"), netip.MustParseAddr("2001:db8::1")
	for i := range 12 {
		at := a.Now.Add(time.Duration(i) * 300 * time.Second)
		a.Wakes = append(a.Wakes, Wake{At: at.Add(time.Duration(i%3) * time.Second), Client: monitor})
	}
	for _, after := range []int{7, 19, 20, 64, 65, 190, 400} {
		a.Wakes = append(a.Wakes, Wake{At: a.Now.Add(time.Duration(after) * time.Minute), Client: other})
	}
	a.Wakes = append(a.Wakes, Wake{At: a.Now})
	w := p.Why(a)
	if len(w.Callers) != 1 || w.Callers[0].String() != "192.0.2.7 wakes it every 300 s ± 2 s (12 of its last 20 wakes)" {
		t.Errorf("%v", w.Callers)
	}
}

// TestWhyOfASiteOfWhichNothingIsKnown: what other sites taught stands in; and of one that never sleeps nothing is a rung.
func TestWhyOfASiteOfWhichNothingIsKnown(t *testing.T) {
	p := openPlans(t, t.TempDir(), "")
	w := p.Why(Asked{Input: visitsOf(t, "idle: never"), Tier: detect.TierRunning})
	if w.Pauses != 0 || w.Median != 0 || w.Comes <= 0 || len(w.Alternatives) == 0 {
		t.Errorf("%+v", w)
	}
	for _, a := range w.Alternatives {
		if a.Rung {
			t.Errorf("it sleeps on %s", a.Tier)
		}
	}
}
