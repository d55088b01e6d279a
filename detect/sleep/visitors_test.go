package sleep

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/detect"
)

// A site that goes by what its visitors teach keeps its objective, also over restarts
// of the node, and though it only learns at its wakes.
func TestVisitorsKeepTheObjective(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 17))
	const share = 0.02
	var v Visitors
	in := LadderInput{Objective: Objective{Cold: share}, Allowed: []Rung{{Tier: detect.TierCold}}, Pressure: 500}
	v.Tell(&in)
	after := Ladder(in).Rungs[0].After
	var requests, asleep, since uint64
	var span time.Duration
	for n := range 60_000 {
		gap := time.Duration(rnd.ExpFloat64() * 2e9)
		if rnd.IntN(8) == 0 {
			gap = time.Duration(120e9 * math.Pow(rnd.Float64(), -0.5)) // people go to lunch
		}
		span += gap
		since++
		requests++
		if gap <= after {
			continue
		}
		asleep++
		v.Observe(since, 1, span, share)
		since, span = 0, 0
		if n%7 == 0 { // the node ends, and finds what it has written
			b, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			v = Visitors{}
			if err := json.Unmarshal(b, &v); err != nil {
				t.Fatal(err)
			}
		}
		in = LadderInput{Objective: Objective{Cold: share}, Allowed: []Rung{{Tier: detect.TierCold}}, Pressure: 500}
		v.Tell(&in)
		after = Ladder(in).Rungs[0].After
	}
	if got := float64(asleep) / float64(requests); got < 0.5*share || got > 1.25*share {
		t.Errorf("%.4f of %d requests found it asleep, asked for %v", got, requests, share)
	}
	if c := Ladder(in); !strings.Contains(c.Rungs[0].Reason, "steered") {
		t.Errorf("%v", c)
	}
}

func TestVisitorsOfAnotherObjective(t *testing.T) {
	var v Visitors
	v.Observe(1000, 10, time.Hour, 0.01)
	in := LadderInput{Objective: Objective{Cold: 0.05}}
	if v.Tell(&in); in.Timeout != 0 || math.Abs(in.Rate.Mean()-1000.0/3600) > 0.01 {
		t.Errorf("what was steered for 1 %% is used for 5 %%: %+v", in)
	}
	v.Observe(10, 0, time.Minute, 0.05)
	if v.Tell(&in); in.Timeout == 0 || v.Share != 0.05 {
		t.Errorf("nothing is steered: %+v", v)
	}
	v.Observe(10, 0, time.Minute, 0)
	if v.Timeout != 0 {
		t.Errorf("steers without an objective: %+v", v)
	}
}

func FuzzVisitors(f *testing.F) {
	f.Add([]byte(`{"requests":-1,"seconds":1e308,"timeout":-5,"share":2}`), uint64(7), uint64(9), int64(-1), 0.01)
	f.Fuzz(func(t *testing.T, kept []byte, requests, asleep uint64, span int64, share float64) {
		var v Visitors
		if json.Unmarshal(kept, &v) != nil {
			v = Visitors{}
		}
		for range 3 {
			v.Observe(requests, asleep, time.Duration(span), share)
		}
		in := LadderInput{Objective: Objective{Cold: share}}
		v.Tell(&in)
		if in.Timeout < 0 || !(in.Rate.Mean() >= 0) || math.IsInf(in.Rate.Mean(), 0) {
			t.Fatalf("%+v from %+v", in, v)
		}
		for _, r := range Ladder(in).Rungs {
			if r.After < 0 {
				t.Fatalf("%+v", r)
			}
		}
	})
}
