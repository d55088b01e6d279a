package policy

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/detect/sleep"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/file"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/tests/testutil"
)

func anyTier(detect.Tier) error { return nil }

func visitsOf(t *testing.T, yaml string) Input {
	t.Helper()
	return Input{Spec: parseSite(t, yaml), Experience: NewExperience(), Can: anyTier, Now: time.Unix(1_800_000_000, 0)}
}

// planned has plans that know nothing.
func planned(t *testing.T, yaml string) Input {
	t.Helper()
	in := visitsOf(t, yaml)
	in.Plans = openPlans(t, t.TempDir(), "")
	return in
}

// openPlans opens those of a node with a configuration.
func openPlans(t testing.TB, dir, yaml string) *Plans {
	t.Helper()
	cfg, err := config.Parse("fcnode.yaml", strings.NewReader("stateDir: "+dir+"\n"+yaml))
	if err != nil {
		t.Fatal(err)
	}
	p, err := OpenPlans(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPausesAreLearnt: each pause of two seconds or more counts once, for the site and for the node; what
// is between visits of one burst, before the first visit and before visits of an unknown time does not.
func TestPausesAreLearnt(t *testing.T) {
	p := openPlans(t, t.TempDir(), "")
	in := visitsOf(t, "")
	at := in.Now
	visit := func(after, lasting time.Duration) bool {
		begin := at.Add(after)
		at = begin.Add(lasting)
		return p.Visited(in, Visits{Begin: begin, End: at})
	}
	if visit(time.Hour, time.Second) {
		t.Error("nobody came before, and a pause ended")
	}
	if visit(time.Second, 0) {
		t.Error("a second is a pause")
	}
	if !visit(5*time.Minute, 30*time.Second) || !visit(5*time.Minute, 0) {
		t.Error("five minutes are none")
	}
	at = at.Add(time.Hour)
	if p.Visited(in, Visits{End: at}) {
		t.Error("an unknown time is a pause")
	}
	s := in.Experience.State
	if n := s.Pauses.Count(); n != 2 || s.Pauses[sleep.Bucket(5*time.Minute)] != 2 {
		t.Errorf("%d pauses: %v", n, s.Pauses)
	}
	if s.Last != since1970(at) {
		t.Errorf("its last visit was at %v, ended at %v", s.Last, since1970(at))
	}
}

// TestPlansAreKept: the next daemon knows what the sites have taught; a file that is none of
// the plans' is an error, beside which come plans that know nothing.
func TestPlansAreKept(t *testing.T) {
	dir := t.TempDir()
	p := openPlans(t, dir, "")
	cfg := config.Config{StateDir: dir}
	in := visitsOf(t, "")
	for i := range 50 {
		at := in.Now.Add(time.Duration(i) * time.Hour)
		p.Visited(in, Visits{Begin: at, End: at, Requests: 1})
	}
	if err := p.Save(); err != nil {
		t.Fatal(err)
	}
	next, err := OpenPlans(cfg)
	if err != nil || next.planner.Pool == (sleep.Pool{}) {
		t.Fatal(err)
	}
	if next.planner.Pool != p.planner.Pool {
		t.Error("it is another pool")
	}
	for _, bad := range []string{"{", `{"pool":[1,2]}`, `{"pool":"x"}`, `{"pool":[1e300` + zeros() + `]}`, `{"pool":[-1` + zeros() + `]}`,
		`{"classes":{"gold":{"v":-1}}}`, `{"classes":{"gold":{"v":1e300}}}`, `{"classes":{"gold":7}}`, `{"pressure":{"log":1e9}}`,
		`{"cascades":[{"lead":1,"site":1}]}`, `{"cascades":7}`} {
		if err := os.WriteFile(p.File(), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if next, err := OpenPlans(cfg); err == nil || next == nil || next.planner.Pool != (sleep.Pool{}) {
			t.Errorf("of %.20s it makes %v", bad, err)
		}
	}
	if err := os.WriteFile(p.File(), []byte(`{"pool":[-1`+zeros()+`]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenPlans(cfg); !errors.Is(err, sleep.ErrPool) {
		t.Error(err)
	}
}

// TestNobodyWaitsForThePlansDisk: visits are learnt while the plans are written, and what could not be written is at the next time.
func TestNobodyWaitsForThePlansDisk(t *testing.T) {
	p := openPlans(t, t.TempDir(), "")
	in := visitsOf(t, "")
	at := in.Now
	visit := func() bool {
		at = at.Add(time.Hour)
		return p.Visited(in, Visits{Begin: at, End: at, Requests: 1})
	}
	visit()
	visit()
	full := errors.New("the disk is full")
	writes := 0
	p.write = func(string, []byte) error {
		writes++
		learnt := make(chan bool)
		go func() { learnt <- visit() }()
		if !testutil.Receive(t, 10*time.Second, "a visit", learnt) {
			t.Error("it is no pause")
		}
		return full
	}
	for range 2 {
		if err := p.Save(); !errors.Is(err, full) {
			t.Error(err)
		}
	}
	p.write = file.Replace
	if err := p.Save(); err != nil || writes != 2 {
		t.Errorf("%v, after %d writes", err, writes)
	}
	next, err := OpenPlans(config.Config{StateDir: filepath.Dir(p.File())})
	if err != nil || next.planner.Pool != p.planner.Pool {
		t.Errorf("%v, or another pool", err)
	}
}

func zeros() (out string) {
	for range sleep.Buckets - 1 {
		out += ",0"
	}
	return out
}

// TestStateIsInTheExperience: in at most 200 characters of the site's file; a state that is
// damaged is an error of it.
func TestStateIsInTheExperience(t *testing.T) {
	s, background := testExperiences(t)
	x := NewExperience()
	x.Pauses().Pauses.Add(time.Hour)
	x.Pauses().Last = 17
	if err := s.Put("a", x); err != nil {
		t.Fatal(err)
	}
	for _, job := range background.jobs {
		job()
	}
	got, err := s.Load("a")
	if err != nil || *got.State != *x.State {
		t.Errorf("it comes back as %+v (%v)", got.State, err)
	}
	text, err := x.State.MarshalText()
	if err != nil || len(text) > 200 {
		t.Errorf("it takes %d characters (%v)", len(text), err)
	}
	if err := os.WriteFile(s.File("a"), []byte(`{"state":"AAAA"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load("a"); !errors.Is(err, sleep.ErrState) {
		t.Errorf("a damaged state is %v", err)
	}
}

// BenchmarkVisited is what a visit costs the goroutine that reads each second who came: of a site of which only
// its visits are known, and of one whose tiers were all measured.
func BenchmarkVisited(b *testing.B) {
	for name, wakes := range map[string]int{"new": 0, "measured": wakesKept} {
		b.Run(name, func(b *testing.B) {
			p := openPlans(b, b.TempDir(), "")
			in := Input{Spec: &spec.Site{Tiers: spec.Tiers{Auto: true}}, Experience: NewExperience(), Can: anyTier, Now: time.Unix(1_800_000_000, 0)}
			for depth, tier := range detect.Tiers {
				for i := range wakes {
					x := in.Experience.Tier(tier)
					x.Memory = uint64(100-10*depth) << 20
					x.AddWake(time.Duration(depth*i+1) * time.Millisecond)
				}
			}
			at := in.Now
			for b.Loop() {
				at = at.Add(time.Minute)
				p.Visited(in, Visits{Begin: at, End: at, Requests: 1})
			}
		})
	}
}
