package scale

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// written is a cgroup that remembers what was asked of it.
type written struct {
	changes []cgroup.Change
	fail    error
}

func (w *written) Apply(c cgroup.Change) error {
	w.changes = append(w.changes, c)
	return w.fail
}

func TestSetLimit(t *testing.T) {
	for _, tt := range []struct {
		name detect.ResourceName
		to   float64
		is   func(cgroup.Change) bool
	}{
		{detect.CPU, 1.5, func(c cgroup.Change) bool {
			return *c.CPU == 1.5 && c.MemoryHigh == nil && c.MemoryMax == nil && c.Pids == nil
		}},
		{detect.Memory, 64 << 20, func(c cgroup.Change) bool { return *c.MemoryHigh == 64<<20 && c.MemoryMax == nil && c.CPU == nil }},
		{detect.Pids, 95.5, func(c cgroup.Change) bool { return *c.Pids == 96 && c.CPU == nil }},
	} {
		one, two := &written{}, &written{}
		got, err := setLimit([]*written{one, two}, &Limits{}, tt.name, 0, tt.to)
		if err != nil || got != tt.to {
			t.Errorf("%s: %v, %v", tt.name, got, err)
		}
		for _, w := range []*written{one, two} {
			if len(w.changes) != 1 || !tt.is(w.changes[0]) {
				t.Errorf("%s: written was %+v", tt.name, w.changes)
			}
		}
	}
	inUse := &written{fail: &cgroup.InUseError{File: "memory.high", Wanted: 10, Set: 30, InUse: 28}}
	if got, err := setLimit([]*written{{}, inUse}, &Limits{}, detect.Memory, 0, 10); err != nil || got != 30 {
		t.Errorf("what is in use cannot be taken: %v, %v", got, err)
	}
	broken := errors.New("broken")
	if _, err := setLimit([]*written{{fail: broken}, {}}, &Limits{}, detect.CPU, 0, 1); !errors.Is(err, broken) {
		t.Errorf("a write that fails: %v", err)
	}
}

// TestWeightStays: what a site is sure of when all want more than there is does not move with what it is given (docs/limits.md).
func TestWeightStays(t *testing.T) {
	s := parseScaled(t, "limits: {cpu: {min: 0.25, max: 2}}")
	if got := startLimits(s.Limits); got.CPUWeight != 25 || got.CPU != 2 {
		t.Errorf("it starts with the weight %d and %v cores, want 25 and 2", got.CPUWeight, got.CPU)
	}
	l := NewLimits(s.Limits, func(string) bool { return true })
	for what, c := range map[string]cgroup.Change{
		"raised": limitChange(&l, detect.CPU, 0, 2), "for a wake": l.everything(), "a spare one": Settable(startLimits(s.Limits), func(string) bool { return true }),
	} {
		if c.CPU == nil || *c.CPU != 2 || c.CPUWeight != nil {
			t.Errorf("%s: cores %v, weight %v", what, c.CPU, c.CPUWeight)
		}
	}
}

func TestReadLimits(t *testing.T) {
	s := scaled(0.25, 4, 64*spec.MiB, spec.GiB)
	s.Limits.Pids = spec.PidsLimits{Min: 64, Max: 512}
	all := NewLimits(s.Limits, everything)
	for _, tt := range []struct {
		name              string
		cpu, memory, pids string
		want              [3]float64
	}{
		{"lowered", "50000 100000\n", "134217728\n", "96\n", [3]float64{0.5, 128 << 20, 96}},
		{"none", "max 100000\n", "max\n", "max\n", [3]float64{4, 1 << 30, 512}},
		{"beyond a spec that has changed", "900000 100000\n", "1048576\n", "9\n", [3]float64{4, 64 << 20, 64}},
		{"no such files", "", "", "", [3]float64{4, 1 << 30, 512}},
		{"rubbish", "x\n", "\n", "1 2 3\n", [3]float64{4, 1 << 30, 64}},
	} {
		dir := t.TempDir()
		for file, text := range map[string]string{"cpu.max": tt.cpu, "memory.high": tt.memory, "pids.max": tt.pids} {
			if text == "" {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got := readLimits(dir, all)
		if now := [3]float64{got.CPU.Now, got.Memory.Now, got.Pids.Now}; now != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, now, tt.want)
		}
	}
}

// TestUses: counts become what the scaler asks for.
func TestUses(t *testing.T) {
	base := Sample{at: 1e9, Usage: cgroup.Usage{
		CPU:         cgroup.CPUUsage{Known: true, Time: time.Second, Periods: 10, Throttled: 2},
		CPUPressure: cgroup.Stall{Some: time.Second},
		Memory:      cgroup.MemoryUsage{Known: true, Current: 10, MemoryEvents: cgroup.MemoryEvents{High: 3}},
		Pids:        cgroup.PidsUsage{Known: true, Current: 5, Refused: 1},
	}}
	now := Sample{at: 3e9, Usage: cgroup.Usage{
		CPU:         cgroup.CPUUsage{Known: true, Time: 4 * time.Second, Periods: 30, Throttled: 12},
		CPUPressure: cgroup.Stall{Some: 2 * time.Second},
		Memory:      cgroup.MemoryUsage{Known: true, Current: 4096, MemoryEvents: cgroup.MemoryEvents{High: 5, Max: 1}},
		Pids:        cgroup.PidsUsage{Known: true, Current: 7, Refused: 4},
	}}
	if got, want := cpuUse(now, base), (detect.Resource{Used: 1.5, Stall: 0.5, Hits: 0.5}); got != want {
		t.Errorf("cpu %+v, want %+v", got, want)
	}
	if got, want := memoryUse(now, base), (detect.Resource{Used: 4096, Hits: 3}); got != want {
		t.Errorf("memory %+v, want %+v", got, want)
	}
	if got, want := pidsUse(now, base), (detect.Resource{Used: 7, Hits: 3}); got != want {
		t.Errorf("pids %+v, want %+v", got, want)
	}
	idler := now
	idler.Usage.CPU.Time, idler.Usage.CPU.Periods, idler.Usage.CPU.Throttled = base.Usage.CPU.Time, 11, 3
	if got := cpuUse(idler, base); got.Hits != 0.05 {
		t.Errorf("one throttled period of 20, the only one with something to do: %+v", got)
	}
	soon := now
	soon.at = base.at + uint64(50*time.Millisecond)
	if got := cpuUse(soon, base); got != (detect.Resource{}) {
		t.Errorf("over less than a period: %+v", got)
	}
	if cpuUse(Sample{at: 3e9}, Sample{}) != (detect.Resource{}) || memoryUse(Sample{}, Sample{}) != (detect.Resource{}) || pidsUse(Sample{}, Sample{}) != (detect.Resource{}) {
		t.Error("what nothing accounts for is known")
	}
	again := base
	again.at = 4e9
	if got := cpuUse(again, now); got.Used != 0 || got.Hits != 0 || got.Stall != 0 {
		t.Errorf("counters that began anew: %+v", got)
	}
}

// TestCalm: a site is evaluated seldom when nobody is there and there is nothing to give back.
func TestCalm(t *testing.T) {
	s := &State{Limits: NewLimits(scaled(0.25, 4, 0, 0).Limits, everything)}
	idle := detect.Signals{Conns: []uint64{0}, Replicas: detect.Replicas{Now: 1}}
	if s.calm(&idle) {
		t.Error("with all that a start was given")
	}
	s.Limits.CPU.Now = 0.25
	if !s.calm(&idle) {
		t.Error("with the least, and nobody there")
	}
	for name, sig := range map[string]detect.Signals{
		"a visitor":    {Conns: []uint64{0, 1}, Replicas: detect.Replicas{Now: 1}},
		"two replicas": {Conns: []uint64{0, 0}, Replicas: detect.Replicas{Now: 2}},
	} {
		if s.calm(&sig) {
			t.Error("with " + name)
		}
	}
}

// TestCount: what is normal is learned from what arrived between two readings; a replica that is gone takes its count with it.
func TestCount(t *testing.T) {
	s := &State{}
	read := func(at time.Duration, total uint64) { s.count(samplesOf(at, total)) }
	read(time.Second, 1000) // before it was looked at
	read(31*time.Second, 1300)
	if got := s.normal.Rate.Lambda(); got < 3 || got > 11 {
		t.Errorf("300 in half a minute are %v a second", got)
	}
	before := s.normal.Rate.Lambda()
	read(32*time.Second, 100)
	if got := s.normal.Rate.Lambda(); got != before {
		t.Errorf("fewer than before are %v a second, were %v", got, before)
	}
}

func samplesOf(at time.Duration, total uint64) map[site.ReplicaID]Sample {
	return map[site.ReplicaID]Sample{1: {Counted: uint64(at), Load: bpf.Load{ConnsTotal: total}}}
}

func parseScaled(t testing.TB, more string) *spec.Site {
	t.Helper()
	sites, err := spec.Parse("test", strings.NewReader("{name: a, image: 'dir:/a', ports: [80/tcp], "+more+"}"))
	if err != nil {
		t.Fatal(err)
	}
	return &sites[0]
}
