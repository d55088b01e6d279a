package sleep

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"
)

func TestBucketsHaveNoGaps(t *testing.T) {
	if Bucket(shortest*time.Second-1) != -1 || Bucket(-time.Second) != -1 {
		t.Error("a pause below two seconds counts")
	}
	for b := range Buckets {
		// An edge is no whole number of nanoseconds.
		if got := Bucket(Edge(b) + 1); got != b {
			t.Errorf("edge %d (%v) is in bucket %d", b, Edge(b), got)
		}
		if got := Bucket(Edge(b) - 1); got != b-1 {
			t.Errorf("just below edge %d is bucket %d", b, got)
		}
	}
	if b := Bucket(math.MaxInt64); b != Buckets-1 {
		t.Errorf("292 years are in bucket %d", b)
	}
	if d := Edge(Buckets - 1); d < 24*24*time.Hour || d > 25*24*time.Hour {
		t.Errorf("the last bucket begins at %v", d)
	}
}

func TestPausesForget(t *testing.T) {
	var p Pauses
	for range 10_000 {
		p.Add(time.Minute)
	}
	before := p.Count()
	for range 1000 {
		p.Add(time.Hour)
	}
	if before > math.MaxUint8 || int(p[Bucket(time.Minute)]) > before/8 {
		t.Errorf("%d counts, of which %d are left after a thousand others", before, p[Bucket(time.Minute)])
	}
	if p.Add(time.Second) {
		t.Error("a second is a pause")
	}
}

func example() State {
	s := State{Last: 1795986000 * time.Second, Ahead: Paired{Sum: 1.5, Squares: 0.25}, Debt: -12, Own: 0.5}
	s.Pauses[0], s.Pauses[17], s.Pauses[80] = 1, 200, 3
	return s
}

// The encoding is what older daemons have written: it does not change under a version.
func TestStateEncodingIsStable(t *testing.T) {
	s := example()
	b, err := s.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, StateSize)
	want[0], want[1], want[18], want[81] = 1, 1, 200, 3
	tail, err := hex.DecodeString("0020935fc09fec18" + "0000c03f" + "0000803e" + "000040c1" + "0000003f")
	if err != nil {
		t.Fatal(err)
	}
	copy(want[82:], tail)
	if !bytes.Equal(b, want) {
		t.Errorf("%x\nnot %x", b, want)
	}
	var back State
	if err := back.UnmarshalBinary(b); err != nil || back != s {
		t.Errorf("%+v, %v", back, err)
	}
	if len(b) > 128 || unsafe.Sizeof(s) > 128 {
		t.Errorf("%d bytes on disk, %d in memory", len(b), unsafe.Sizeof(s))
	}
}

func TestStateRefusesWhatItIsNot(t *testing.T) {
	s := example()
	good, _ := s.MarshalBinary()
	with := func(at int, v ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[at:], v)
		return b
	}
	for name, b := range map[string][]byte{
		"empty": nil, "a later version": with(0, 2), "cut": good[:StateSize-1], "longer": append(bytes.Clone(good), 0),
		"no number": with(90, 0, 0, 0xc0, 0x7f), "negative squares": with(94, 0, 0, 0, 0xbf),
		"infinite debt": with(98, 0, 0, 0x80, 0x7f), "a time before the beginning": with(89, 0xff),
		"a price of its own beyond all bounds": with(102, 0, 0, 0, 0x45),
	} {
		back := example()
		if err := back.UnmarshalBinary(b); !errors.Is(err, ErrState) || back != s {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzState(f *testing.F) {
	s := example()
	b, _ := s.MarshalBinary()
	f.Add(b, uint64(1))
	f.Add([]byte{1}, uint64(2))
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		var s State
		if s.UnmarshalBinary(b) != nil {
			return
		}
		again, err := s.MarshalBinary()
		if err != nil || !bytes.Equal(b, again) && !hasNegativeZero(&s) {
			t.Fatalf("%x became %x", b, again)
		}
		// Whatever a file says, plans are plans.
		rnd := rand.New(rand.NewPCG(seed, 52))
		var p Planner
		p.Use(page(), DefaultPrices)
		for range 20 {
			var plans Plans
			p.Plan(&s, &plans)
			checkPlan(t, plans.Follow(), len(page()))
			p.Ended(&s, &plans, time.Duration(rnd.Int64()))
		}
		if d := float64(s.Debt); math.IsNaN(d) || math.IsInf(d, 0) {
			t.Fatalf("debt %v", d)
		}
	})
}

// hasNegativeZero tells of a float that is written otherwise than it was read.
func hasNegativeZero(s *State) bool { return s.Own == 0 || s.Ahead.Squares == 0 }

// checkPlan holds a plan's three views together.
func checkPlan(t *testing.T, p *Plan, options int) {
	t.Helper()
	steps := p.Steps(nil)
	now, at := 0, time.Duration(0)
	for i, s := range steps {
		if s.Option == now || s.Option >= options || s.After < shortest*time.Second || i > 0 && s.After <= at {
			t.Fatalf("step %d of %v", i, steps)
		}
		if next, ok := p.Next(at); !ok || next != s {
			t.Fatalf("after %v comes %v, not %v", at, next, s)
		}
		now, at = s.Option, s.After+1
		if got := p.At(at); got != now {
			t.Fatalf("option %d at %v, not %d of %v", got, at, now, steps)
		}
	}
	if next, ok := p.Next(at); ok {
		t.Fatalf("after all of %v comes %v", steps, next)
	}
}
