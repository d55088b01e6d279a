package detect

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/detect/change"
	"github.com/fcnode/fcnode/detect/internal/figure"
)

// loaded is a site with one replica of one core and 512 MiB, that may grow.
func loaded(change func(*Signals)) Signals {
	s := Signals{
		Conns:    []uint64{2},
		CPU:      Resource{Limit: Limit{Now: 1, Min: 0.25, Max: 4}, Used: 0.3},
		Memory:   Resource{Limit: Limit{Now: 512 * figure.MiB, Min: 128 * figure.MiB, Max: 2 * figure.GiB}, Used: 400 * figure.MiB},
		Pids:     Resource{Limit: Limit{Now: 64, Min: 64, Max: 2048}, Used: 20},
		Replicas: Replicas{Now: 1, Min: 1, Max: 4},
	}
	if change != nil {
		change(&s)
	}
	return s
}

func TestScalerAnswersEachSignal(t *testing.T) {
	targets := Targets{Conns: 50, Latency: 200 * time.Millisecond}
	noCPU := func(s *Signals) { s.CPU = Resource{} }
	for _, c := range []struct {
		name   string
		change func(*Signals)
		want   string
	}{
		{"nothing", nil, "none"},
		{"throttled", func(s *Signals) { s.CPU.Hits, s.CPU.Used = 0.4, 0.99 }, "up cpu 1 -> 2"},
		{"used up", func(s *Signals) { s.CPU.Used = 0.95 }, "up cpu 1 -> 2"},
		{"a larger step", func(s *Signals) { s.CPU.Used, s.CPU.Limit.Step = 0.95, 3 }, "up cpu 1 -> 3"},
		{"used up in an alarm", func(s *Signals) { s.CPU.Used, s.Alarm = 0.95, 0b111 }, "up cpu 1 -> 4"},
		{"the budget bounds it", func(s *Signals) { s.CPU.Used, s.CPU.Limit.Budget = 0.95, 1.5 }, "up cpu 1 -> 1.5"},
		{"waiting for the CPU", func(s *Signals) { s.CPU.Used, s.CPU.Stall = 0.6, 0.5 }, "up cpu 1 -> 2"},
		{"memory full", func(s *Signals) { s.Memory.Used = 500 * figure.MiB }, "up memory 5.37e+08 -> 1.07e+09"},
		{"memory.events", func(s *Signals) { s.Memory.Hits, s.Memory.Stall = 1, 0.05 }, "up memory 5.37e+08 -> 1.07e+09"},
		{"files went through the limit, nobody waited", func(s *Signals) { s.Memory.Hits = 1 }, "none"},
		{"memory before CPU", func(s *Signals) { s.Memory.Used, s.CPU.Used = 500*figure.MiB, 1 }, "up memory 5.37e+08 -> 1.07e+09"},
		{"forks refused", func(s *Signals) { s.Pids.Hits = 3 }, "up pids 64 -> 128"},
		{"waiting for the disk", func(s *Signals) { s.IO = disk(1, 0.6, 0.5) }, "up io 1 -> 2"},
		{"waiting for the disk, and not for this rate", func(s *Signals) { s.IO = disk(1, 0.3, 0.5) }, "none"},
		{"a rate used up", func(s *Signals) { s.IO = disk(1, 0.95, 0) }, "up io 1 -> 2"},
		{"a rate that let more through at once", func(s *Signals) { s.IO = disk(1, 8, 0) }, "up io 1 -> 2"},
		{"a rate in an alarm", func(s *Signals) { s.IO, s.Alarm = disk(1, 0.95, 0), 0b111 }, "up io 1 -> 4"},
		{"the budget of a disk", func(s *Signals) { s.IO = disk(1, 0.95, 0); s.IO[1].Limit.Budget = 1.25 }, "up io 1 -> 1.25"},
		{"less of a disk, though it is in use", func(s *Signals) { s.IO = disk(4, 3.5, 0); s.IO[1].Limit.Budget = 2 }, "down io 4 -> 2"},
		{"many connections, CPU to spare", func(s *Signals) { s.Conns[0] = 170 }, "out 4"},
		{"many connections, CPU busy", func(s *Signals) { s.Conns[0], s.CPU.Used = 170, 0.7 }, "up cpu 1 -> 4"},
		{"many connections, no controllers", func(s *Signals) { noCPU(s); s.Conns[0] = 140 }, "out 3"},
		{"a little over, could be chance", func(s *Signals) { s.Conns[0] = 55 }, "none"},
		{"a little over, in an alarm", func(s *Signals) { s.Conns[0], s.Alarm = 55, 1 }, "out 2"},
		{"the queue is full", func(s *Signals) { s.AcceptQueue, s.AcceptMax = 100, 128 }, "out 2"},
		{"somebody waits in the queue", func(s *Signals) { s.AcceptQueue, s.AcceptMax = 3, 128 }, "none"},
		{"at its most", func(s *Signals) { s.Conns, s.Replicas.Now = []uint64{300, 300, 300, 300}, 4 }, "none but there are as many replicas"},
		{"more than there may be", func(s *Signals) { s.Conns, s.Replicas.Now = make([]uint64, 6), 6 }, "in 4"},
		{"the node has less to give", func(s *Signals) { s.CPU.Limit.Now, s.CPU.Limit.Budget = 4, 2 }, "down cpu 4 -> 2"},
		{"but what is in use stays", func(s *Signals) {
			s.Memory.Limit.Budget, s.Memory.Limit.Now, s.Memory.Used = 300*figure.MiB, 1*figure.GiB, 700*figure.MiB
		}, "down memory 1.07e+09 -> 7.34e+08"},
		{"less than promised", func(s *Signals) { s.CPU.Limit.Now = 0.1; s.CPU.Used = 0 }, "up cpu 0.1 -> 0.25"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := NewScaler(targets, ActionCosts{}).Decide(time.Hour, loaded(c.change))
			if got := inWords(d); !strings.HasPrefix(got, c.want) && !strings.Contains(d.Reason, strings.TrimPrefix(c.want, "none ")) {
				t.Errorf("decided %s (%s), want %s", got, d.Reason, c.want)
			}
			if d.Kind != None && (d.Reason == "" || len(d.Evidence) == 0 && d.Kind != Up) {
				t.Errorf("no reason or no evidence: %+v", d)
			}
		})
	}
}

// disk are two rates, the first of which is of no interest.
func disk(now, used, stall float64) []Resource {
	return []Resource{
		{Limit: Limit{Now: 1e6, Min: 1e6, Max: 1e9}, Stall: stall, Name: "rbps of /srv"},
		{Limit: Limit{Now: now, Min: 1, Max: 10}, Used: used, Stall: stall, Name: "wbps of /srv"},
	}
}

func inWords(d Decision) string {
	switch d.Kind {
	case Up, Down:
		return fmt.Sprintf("%s %s %.3g -> %.3g", d.Kind, d.Resource, d.From, d.To)
	case Out, In:
		return fmt.Sprintf("%s %d", d.Kind, d.Replicas)
	case None:
	}
	return string(d.Kind)
}

// play asks a scaler once a second and carries out what it decides.
func play(s *Scaler, from, length time.Duration, sig Signals, change func(at time.Duration, sig *Signals)) (Signals, []Decision) {
	var all []Decision
	for at := from; at < from+length; at += time.Second {
		change(at, &sig)
		for range 8 {
			d := s.Decide(at, sig)
			if d.Kind == None {
				break
			}
			all = append(all, d)
			carryOut(d, &sig)
		}
	}
	return sig, all
}

func carryOut(d Decision, sig *Signals) {
	switch d.Kind {
	case Up, Down:
		sig.of(d.Resource, d.Part).Limit.Now = d.To
	case Out, In:
		var total uint64
		for _, c := range sig.Conns {
			total += c
		}
		sig.Replicas.Now = d.Replicas
		sig.Conns = make([]uint64, d.Replicas)
		for i := range sig.Conns {
			sig.Conns[i] = total / uint64(d.Replicas)
		}
	case None:
	}
}

func TestScalerGivesBackWhatIsNotNeeded(t *testing.T) {
	s := NewScaler(Targets{Conns: 50}, ActionCosts{Out: 100 * time.Millisecond, In: 20 * time.Millisecond})
	sig := loaded(func(s *Signals) {
		s.Conns, s.Replicas.Now = []uint64{3, 3, 3}, 3
		s.CPU.Limit.Now, s.CPU.Used = 4, 0.2
		s.Memory.Limit.Now, s.Memory.Used = 2*figure.GiB, 200*figure.MiB
		s.Pids.Limit.Now = 1024
	})
	end, all := play(s, time.Hour, 5*time.Minute, sig, func(time.Duration, *Signals) {})
	if end.Replicas.Now != 1 || math.Abs(end.CPU.Limit.Now-0.3) > 1e-9 || end.Memory.Limit.Now != 250*figure.MiB || end.Pids.Limit.Now != 64 {
		t.Errorf("after five quiet minutes: %d replicas, %v cores, %v memory, %v pids\n%v", end.Replicas.Now, end.CPU.Limit.Now, end.Memory.Limit.Now, end.Pids.Limit.Now, all)
	}
	for _, d := range all {
		if d.Kind != In && d.Kind != Down {
			t.Errorf("decided %s in the quiet", inWords(d))
		}
	}
}

// Slow answers that more replicas do not make quicker are not answered by ever more.
func TestScalerNoticesThatMoreDoesNotHelp(t *testing.T) {
	s := NewScaler(Targets{Latency: 100 * time.Millisecond}, ActionCosts{})
	sig := loaded(func(s *Signals) { s.Replicas.Max = 15; s.CPU.Used = 0.1 })
	end, _ := play(s, time.Hour, time.Minute, sig, func(_ time.Duration, sig *Signals) {
		sig.Latency = Latency{P50: 300 * time.Millisecond, P99: 350 * time.Millisecond, Samples: 500} // a slow database
	})
	if end.Replicas.Now > 2 {
		t.Errorf("%d replicas for a slow database within a minute", end.Replicas.Now)
	}
}

// A site with three answers a second has no p99 in a look; if one in ten is slow, that is
// seen all the same, and one in two hundred is not.
func TestScalerAddsUpFewAnswers(t *testing.T) {
	for every, want := range map[int]Kind{3: Out, 67: None} {
		s := NewScaler(Targets{Latency: 100 * time.Millisecond}, ActionCosts{})
		sig := loaded(func(s *Signals) { s.CPU = Resource{} })
		got := None
		n := 0
		_, all := play(s, time.Hour, 5*time.Minute, sig, func(_ time.Duration, sig *Signals) {
			n++
			sig.Latency = Latency{P50: 10 * time.Millisecond, P99: 20 * time.Millisecond, Samples: 3}
			if n%every == 0 || every == 3 {
				sig.Latency.P99 = 400 * time.Millisecond
			}
		})
		for _, d := range all {
			if d.Kind == Out {
				got = Out
			}
		}
		if got != want {
			t.Errorf("slow once in %d looks: %v, want %v", every, all, want)
		}
	}
}

// Connections that stay for long rise long after the rate did: the rate decides.
func TestScalerSeesLongConnectionsComing(t *testing.T) {
	s := NewScaler(Targets{Conns: 50}, ActionCosts{})
	sig := loaded(func(s *Signals) { s.Replicas.Max, s.CPU.Used = 10, 0.05 })
	// 1/s that stay for 20 s; then 8/s.
	at := time.Hour
	sig, all := play(s, at, 5*time.Minute, sig, func(_ time.Duration, sig *Signals) { sig.Conns, sig.Arrivals = []uint64{20}, 1 })
	if len(all) > 0 && all[len(all)-1].Kind == Out {
		t.Fatalf("scaled out under the usual load: %v", all)
	}
	sig.Arrivals, sig.Alarm, sig.Conns = 8, 0b11, []uint64{24}
	d := s.Decide(at+5*time.Minute, sig)
	if d.Kind != Out || d.Replicas < 3 || d.Replicas > 4 || !strings.Contains(d.Reason, "new connections/s") {
		t.Errorf("decided %+v, 160 connections are coming", d)
	}
}

// Noise around a steady load sets off few actions, and fewer the dearer they are.
func TestScalerNoise(t *testing.T) {
	const length = 4 * time.Hour
	costs := []ActionCosts{
		{Out: 5 * time.Millisecond, In: 5 * time.Millisecond},
		{Out: 100 * time.Millisecond, In: 20 * time.Millisecond},
		{Out: time.Second, In: 100 * time.Millisecond},
	}
	for _, phi := range []int{1, 5} {
		for _, c := range costs {
			rnd := rand.New(rand.NewPCG(uint64(phi), 5))
			s := NewScaler(Targets{Conns: 20}, c)
			sig := loaded(func(s *Signals) { s.Conns, s.Replicas = []uint64{17, 17}, Replicas{Now: 2, Min: 1, Max: 15} })
			_, all := play(s, time.Hour, length, sig, func(_ time.Duration, sig *Signals) {
				n := uint64(max(1, sig.Replicas.Now))
				total := uint64(phi * poissonCount(rnd, 34/float64(phi))) // 85 % of what two replicas carry
				sig.Conns = make([]uint64, n)
				for i := range sig.Conns {
					sig.Conns[i] = total / n
				}
				used := 0.9 * float64(total) / 34 / float64(n)
				sig.CPU.Used = min(used, sig.CPU.Limit.Now)
				sig.CPU.Hits = 0
				if used > sig.CPU.Limit.Now {
					sig.CPU.Hits = 0.3
				}
			})
			byKind := map[Kind]int{}
			for _, d := range all {
				byKind[d.Kind]++
			}
			limits, outs := MaxActions(c, length, 2, 15)
			if byKind[Up]+byKind[Down] > limits || byKind[Out]+byKind[In] > outs {
				t.Errorf("φ %d, %+v: %v in %v, the bounds are %d and %d", phi, c, byKind, length, limits, outs)
			}
			// Patience makes it far less than the bound, in sum and where it is dear.
			spent := time.Duration(byKind[Out])*c.Out + time.Duration(byKind[In])*c.In
			if spent > length/1000 || c.Out >= 100*time.Millisecond && byKind[Out]+byKind[In] > 10 || byKind[Up]+byKind[Down] > 200 {
				t.Errorf("φ %d, %+v: %v in %v, %v spent on replicas", phi, c, byKind, length, spent)
			}
			t.Logf("φ %d, a replica costs %v: %v in %v", phi, c.Out, byKind, length)
		}
	}
}

func poissonCount(rnd *rand.Rand, mean float64) int {
	n := 0
	for sum := rnd.ExpFloat64(); sum < mean; sum += rnd.ExpFloat64() {
		n++
	}
	return n
}

// Whatever the signals say, a decision stays within its bounds and says why.
func FuzzScaler(f *testing.F) {
	f.Add(uint64(1), 1.0, 4.0, 0.25, 2.0, 0.5, 50.0, uint8(4))
	f.Add(uint64(2), math.NaN(), math.Inf(1), -1.0, 0.0, math.Inf(-1), 0.0, uint8(0))
	f.Add(uint64(3), 1e300, 1e-300, 1e300, math.MaxFloat64, 1e308, 1e-9, uint8(255))
	f.Fuzz(func(t *testing.T, seed uint64, now, most, least, step, budget, target float64, replicas uint8) {
		rnd := rand.New(rand.NewPCG(seed, 9))
		s := NewScaler(Targets{Conns: target, Latency: time.Duration(rnd.Int64N(1e9))}, ActionCosts{
			Limit: time.Duration(rnd.Int64N(1e7)), Out: time.Duration(rnd.Int64N(5e9)), In: time.Duration(rnd.Int64N(1e9)),
		})
		sig := Signals{Replicas: Replicas{Min: int(replicas) / 16, Max: int(replicas), Now: 1}}
		for _, r := range resources {
			*sig.of(r, 0) = Resource{Limit: Limit{Now: now, Min: least, Max: most, Step: step, Budget: budget}}
		}
		sig.IO = []Resource{{}, *sig.of(CPU, 0)}
		at := time.Duration(rnd.Int64N(1e18))
		for range 60 {
			at += time.Duration(rnd.Int64N(20e9))
			sig.Conns = make([]uint64, max(0, sig.Replicas.Now))
			for i := range sig.Conns {
				sig.Conns[i] = rnd.Uint64() >> rnd.IntN(64)
			}
			sig.Arrivals, sig.Alarm = rnd.ExpFloat64()*1e6, change.Alarm(rnd.IntN(8))
			sig.AcceptQueue, sig.AcceptMax = rnd.Uint32(), rnd.Uint32()
			sig.Latency = Latency{P50: time.Duration(rnd.Int64()), P99: time.Duration(rnd.Int64()), Samples: rnd.Uint64N(1000)}
			for _, r := range resources {
				sig.of(r, 0).Used, sig.of(r, 0).Stall, sig.of(r, 0).Hits = rnd.ExpFloat64()*figure.Positive(most), rnd.Float64(), rnd.Float64()
			}
			sig.IO[1].Used, sig.IO[1].Stall = rnd.ExpFloat64()*figure.Positive(most), rnd.Float64()
			d := s.Decide(at, sig)
			check(t, d, &sig)
			carryOut(d, &sig)
		}
	})
}

// check holds a decision against what may be decided.
func check(t *testing.T, d Decision, sig *Signals) {
	t.Helper()
	n := sig.replicas()
	switch d.Kind {
	case None:
		return
	case Out:
		if d.Replicas <= n || d.Replicas > max(1, sig.Replicas.Max) {
			t.Fatalf("from %d replicas (max %d): %+v", n, sig.Replicas.Max, d)
		}
	case In:
		if d.Replicas >= n || d.Replicas < 1 || d.Replicas < min(sig.Replicas.Min, sig.Replicas.Max) {
			t.Fatalf("from %d replicas (min %d): %+v", n, sig.Replicas.Min, d)
		}
	case Up, Down:
		r := sig.of(d.Resource, d.Part)
		low, high := r.Limit.Bounds()
		if math.IsNaN(d.To) || math.IsInf(d.To, 0) || d.To <= 0 || d.From != r.Limit.Now {
			t.Fatalf("%+v", d)
		}
		if d.Kind == Up && (d.To <= d.From || d.To > high*(1+1e-9)) || d.Kind == Down && (d.To >= d.From || d.To < low*(1-1e-9)) {
			t.Fatalf("bounds %v to %v: %+v", low, high, d)
		}
		given := d.Resource == IO && d.To >= high*(1-1e-9) // what the budget has; a disk's rate may be taken away
		if d.Kind == Down && !given && d.To < min(r.Used, d.From)*(1-1e-9) {
			t.Fatalf("below the %v in use: %+v", r.Used, d)
		}
	}
	if d.Reason == "" {
		t.Fatalf("without a reason: %+v", d)
	}
}

// TestScalerBurst: what a site was given for its wake is taken back when it was not needed for a hold, counted from the wake and not from
// before the sleep.
func TestScalerBurst(t *testing.T) {
	idle := func(s *Signals) {
		s.CPU = Resource{Limit: Limit{Now: 4, Min: 0.25, Max: 4}, Used: 0.01}
		s.Memory, s.Pids = Resource{}, Resource{}
		s.IO = []Resource{{Limit: Limit{Now: 100, Min: 1, Max: 100}, Name: "wbps of /srv"}}
	}
	given := func(s *Scaler, from time.Duration) time.Duration {
		_, all := play(s, from, time.Minute, loaded(idle), func(time.Duration, *Signals) {})
		if len(all) != 2 || all[0].Kind != Down || all[1].Kind != Down || all[0].Resource != CPU || all[1].Resource != IO {
			t.Fatalf("decided %+v", all)
		}
		return s.limits[2].changed - from
	}
	s := NewScaler(Targets{}, ActionCosts{})
	if took := given(s, time.Hour); took < minHold {
		t.Errorf("after a start: taken back after %s", took)
	}
	s.Burst()
	if took := given(s, 3*time.Hour); took < minHold {
		t.Errorf("after a wake: taken back after %s", took)
	}
}
