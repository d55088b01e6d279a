package load

import (
	"math"
	"slices"
	"testing"
	"time"
)

// mass is how many requests a shape means between two moments.
func mass(s Shape, from, to time.Duration) float64 {
	var sum float64
	for at := from; at < to; at += time.Millisecond {
		sum += s(at) / 1000
	}
	return sum
}

func TestSchedulesFollowTheirShapes(t *testing.T) {
	const length = 20 * time.Second
	shapes := map[string]Shape{
		"constant":    Constant(120),
		"step":        Step(20, 300, 7*time.Second),
		"ramp":        Ramp(0, 200, 5*time.Second, 15*time.Second),
		"flash crowd": FlashCrowd(50, length),
	}
	for name, shape := range shapes {
		for kind, schedule := range map[string]Schedule{
			"even":    Evenly(shape, length),
			"poisson": Poisson(shape, length, 1),
			"pages":   Pages(shape, length, 5, 500*time.Millisecond, 1),
		} {
			at := slices.Collect(schedule)
			if !slices.IsSorted(at) || at[0] < 0 || at[len(at)-1] > length+500*time.Millisecond {
				t.Errorf("%s, %s: not in order, or outside of its time", name, kind)
			}
			if !slices.Equal(at, slices.Collect(schedule)) {
				t.Errorf("%s, %s: not the same twice", name, kind)
			}
			phi := map[string]float64{"even": 0, "poisson": 1, "pages": 5}[kind]
			for from := time.Duration(0); from < length; from += 5 * time.Second {
				want := mass(shape, from, from+5*time.Second)
				got := 0.0
				for _, a := range at {
					if a >= from && a < from+5*time.Second {
						got++
					}
				}
				// Pages reach over the border of the interval.
				if slack := 2 + 4*math.Sqrt(phi*want) + phi*0.1*want; math.Abs(got-want) > slack {
					t.Errorf("%s, %s: %v requests after %v, the shape means %.0f", name, kind, got, from, want)
				}
			}
		}
	}
}

func TestFlashCrowd(t *testing.T) {
	crowd := FlashCrowd(10, time.Minute)
	most := 0.0
	for at := time.Duration(0); at < time.Minute; at += 100 * time.Millisecond {
		most = max(most, crowd(at))
	}
	if crowd(0) != 10 || most < 80 || most > 120 || crowd(59*time.Second) > 15 || crowd(time.Minute) != 0 || crowd(-1) != 0 {
		t.Errorf("begins at %v, at most %v, ends at %v", crowd(0), most, crowd(59*time.Second))
	}
}

// The bounds of a schedule's users: it stops when it is told to.
func TestSchedulesStop(t *testing.T) {
	for name, s := range map[string]Schedule{
		"even": Evenly(Constant(1000), time.Hour), "poisson": Poisson(Constant(1000), time.Hour, 3), "pages": Pages(Constant(1000), time.Hour, 4, time.Second, 3),
	} {
		n := 0
		for range s {
			if n++; n == 100 {
				break
			}
		}
		if n != 100 {
			t.Errorf("%s: %d", name, n)
		}
	}
}
