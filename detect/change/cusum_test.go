package change

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// poisson returns n arrivals at a rate a second, after a start.
func poisson(rnd *rand.Rand, start time.Duration, rate float64, n int) []time.Duration {
	out := make([]time.Duration, n)
	at := start
	for i := range out {
		at += time.Duration(rnd.ExpFloat64() / rate * 1e9)
		out[i] = at
	}
	return out
}

// The kernel's integers and the float reference see the same alarms at the same
// arrivals, but for a step that ends within rounding of the threshold.
func TestCusumIntegersFollowTheFloats(t *testing.T) {
	for _, base := range []Baseline{
		{Lambda: 0.01, Phi: 1}, {Lambda: 1, Phi: 3, ARL0: 1000}, {Lambda: 300, Phi: 1.5}, {Lambda: 40_000, Phi: 2, ARL0: 1e9},
	} {
		rnd := rand.New(rand.NewPCG(1, uint64(base.Lambda*100)))
		var at []time.Duration
		var now time.Duration
		for _, ratio := range []float64{1, 2.5, 1, 6, 0.5, 20, 1, 1} {
			at = append(at, poisson(rnd, now, base.Lambda*ratio, 4000)...)
			now = at[len(at)-1]
		}
		params := base.Params()
		reference, state := NewCusum(base), CusumState{}
		const boot = 1 << 52
		state.Arrival(&params, boot) // neither starts before its first arrival
		reference.Arrival(0)
		alarms := 0
		for n, a := range at {
			want := reference.Arrival(a)
			got := state.Arrival(&params, boot+uint64(a))
			if got != want && closest(reference) > 1e-3 {
				t.Fatalf("%+v: arrival %d at %v: integers say %03b, floats say %03b", base, n, a, got, want)
			}
			reference.alarmed = Alarm(state.Alarmed)
			if want != 0 {
				alarms++
			}
			for i := range Ratios {
				integer := float64(state.Due[i]-min(state.Due[i], boot+uint64(a))) / float64(params.Limit[i])
				if math.Abs(integer-reference.Statistic(i)) > 1e-3 {
					t.Fatalf("%+v: arrival %d, ratio %v: statistic %v in integers, %v in floats", base, n, Ratios[i], integer, reference.Statistic(i))
				}
			}
		}
		if alarms < 3 {
			t.Errorf("%+v: %d alarms: the series should have set off some", base, alarms)
		}
	}
}

// closest is how near a statistic is to where something happens.
func closest(c *Cusum) float64 {
	best := 1.0
	for i := range Ratios {
		best = min(best, math.Abs(c.Statistic(i)-1), math.Abs(c.Statistic(i)-rearm))
	}
	return best
}

// Under the load that it was told, false alarms are rarer than promised; without the
// overdispersion of a site of pages they are not.
func TestCusumFalseAlarms(t *testing.T) {
	const events = 1_000_000
	rnd := rand.New(rand.NewPCG(2, 2))
	base := Baseline{Lambda: 50, Phi: 1, ARL0: 10_000}
	count := func(base Baseline, next func() time.Duration) int {
		params, state, n := base.Params(), CusumState{}, 0
		for range events {
			if state.Arrival(&params, uint64(next())) != 0 {
				n++
			}
		}
		return n
	}
	var at time.Duration
	single := func() time.Duration {
		at += time.Duration(rnd.ExpFloat64() / base.Lambda * 1e9)
		return at
	}
	if n := count(base, single); n > events/int(base.ARL0) {
		t.Errorf("%d false alarms in %d arrivals, at most %d were promised", n, events, events/int(base.ARL0))
	}
	// Pages of 5 requests at once.
	left := 0
	pages := func() time.Duration {
		if left == 0 {
			left = 4
			at += time.Duration(rnd.ExpFloat64() / (base.Lambda / 5) * 1e9)
			return at
		}
		left--
		return at
	}
	naive := count(base, pages)
	base.Phi = 5
	if n := count(base, pages); n > events/int(base.ARL0) || naive < 10*max(n, 1) {
		t.Errorf("pages: %d false alarms with φ = 5, %d with φ = 1", n, naive)
	}
}

// A change is seen after about the time that the theory gives.
func TestCusumDelay(t *testing.T) {
	base := Baseline{Lambda: 20, Phi: 1, ARL0: 1e5}
	params := base.Params()
	for _, ratio := range []float64{2, 4, 16, 50} {
		var sum time.Duration
		const runs = 300
		for run := range runs {
			rnd := rand.New(rand.NewPCG(3, uint64(run)))
			var state CusumState
			before := poisson(rnd, 0, base.Lambda, 200)
			for _, a := range before {
				state.Arrival(&params, uint64(a))
			}
			state.Alarmed = 0
			change := before[len(before)-1]
			at := change
			for seen := false; !seen; {
				at = poisson(rnd, at, base.Lambda*ratio, 1)[0]
				seen = state.Arrival(&params, uint64(at)) != 0
			}
			sum += at - change
		}
		mean, theory := (sum / runs).Seconds(), base.Delay(ratio).Seconds()
		if mean > 1.3*theory+3/(base.Lambda*ratio) || mean < theory/2 {
			t.Errorf("change by %v: seen after %.3fs on average, theory says %.3fs", ratio, mean, theory)
		}
	}
}

func TestCusumAlarmEndsWithItsLoad(t *testing.T) {
	rnd := rand.New(rand.NewPCG(4, 4))
	base := Baseline{Lambda: 100, Phi: 1}
	params, state, reference := base.Params(), CusumState{}, NewCusum(base)
	fired := 0
	var at time.Duration
	for _, a := range poisson(rnd, 0, 1000, 50_000) {
		if state.Arrival(&params, uint64(a))&1 != 0 {
			fired++
		}
		reference.Arrival(a)
		at = a
	}
	if fired != 1 {
		t.Errorf("ratio 2 alarmed %d times during one change", fired)
	}
	if reference.SetBaseline(at, Baseline{Lambda: 1000}) {
		t.Error("the baseline moved while alarming")
	}
	silence := state.Silence(&params, uint64(at))
	if silence <= 0 || state.Alarms(&params, uint64(at)) == 0 {
		t.Fatal("no alarm lasts after a tenfold load")
	}
	if state.Alarms(&params, uint64(at+silence)) != 0 || state.Alarms(&params, uint64(at+silence-2)) == 0 {
		t.Errorf("the alarm does not end after %v of silence", silence)
	}
	if reference.Alarms(at+silence+time.Microsecond) != 0 {
		t.Error("the reference still alarms")
	}
	if !reference.SetBaseline(at+silence+time.Second, Baseline{Lambda: 200}) {
		t.Error("the baseline is still frozen")
	}
}

func TestCusumRebase(t *testing.T) {
	from, to := Baseline{Lambda: 10, Phi: 2}.Params(), Baseline{Lambda: 1000, Phi: 4}.Params()
	const now = 1e15
	state := CusumState{Due: [3]uint64{now + from.Limit[0]/2, now - 5, now + from.Limit[2]}, Alarmed: 0b100}
	got := state.Rebase(&from, &to, now)
	if share := float64(got.Due[0]-now) / float64(to.Limit[0]); math.Abs(share-0.5) > 1e-6 {
		t.Errorf("half way to the alarm became %v", share)
	}
	if got.Due[1] != now || got.Due[2] != now+to.Limit[2] || got.Alarmed != 0b100 {
		t.Errorf("rebased to %+v", got)
	}
	if off := state.Rebase(&from, &CusumParams{}, now); off != (CusumState{}) {
		t.Errorf("rebased to nothing: %+v", off)
	}
}

// Whatever the parameters and the clock, nothing overflows: the statistic stays within its limit.
func FuzzCusum(f *testing.F) {
	f.Add(1.0, 1.0, 1e6, uint64(0), uint64(1000))
	f.Add(math.Inf(1), math.NaN(), -1.0, uint64(1)<<62, uint64(0))
	f.Add(1e-300, 1e300, 1e300, uint64(1)<<63-1, uint64(1)<<62)
	f.Fuzz(func(t *testing.T, lambda, phi, arl float64, now, gap uint64) {
		base := Baseline{Lambda: lambda, Phi: phi, ARL0: arl}
		params := base.Params()
		now &= 1<<62 - 1
		gap &= 1<<56 - 1
		var state CusumState
		reference := NewCusum(base)
		for n := range uint64(64) {
			at := now + (n%7)*gap - (n%3)*(gap/2)
			if at >= 1<<63 {
				at = now
			}
			state.Arrival(&params, at)
			for i := range params.Step {
				if params.Step[i] == 0 || params.Step[i] >= 1<<50 || params.Limit[i] > maxLimit || params.Rearm[i] > params.Limit[i] {
					t.Fatalf("parameters out of bounds: %+v", params)
				}
				if over := state.Due[i] - at; state.Due[i] >= at && over > params.Limit[i]+2*gap*7 {
					t.Fatalf("statistic %d ns beyond the limit %d", over, params.Limit[i])
				}
			}
			reference.Arrival(time.Duration(at))
			for i := range Ratios {
				if s := reference.Statistic(i); !(s >= 0 && s <= 1+1e-9) {
					t.Fatalf("reference at %v", s)
				}
			}
		}
		if d := base.Delay(2); d < 0 {
			t.Fatalf("delay %v", d)
		}
	})
}
