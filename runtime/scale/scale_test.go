package scale

import (
	"context"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/tests/testutil"
)

const gib = float64(1 << 30)

func scaled(minCPU, maxCPU spec.CPU, minMem, maxMem spec.Bytes) *spec.Site {
	return &spec.Site{Limits: spec.Limits{
		CPU: spec.CPULimits{Min: minCPU, Max: maxCPU}, Memory: spec.MemoryLimits{Min: minMem, Max: maxMem}, Pids: spec.PidsLimits{Max: 100},
	}}
}

func everything(string) bool { return true }

// TestBudget: nobody is bounded while there is enough; then it is divided by weight, never below what the specs promise, and
// what one gives back is there for the others.
func TestBudget(t *testing.T) {
	b := newBudget(4, 4*gib)
	one, two := scaled(1, 4, spec.GiB, 4*spec.GiB), scaled(1, 4, spec.GiB, 4*spec.GiB)
	limits := func(s *spec.Site, cpu, memory float64) Limits {
		l := NewLimits(s.Limits, everything)
		l.CPU.Now, l.Memory.Now = cpu, memory
		return l
	}
	b.claim(1, limits(one, 1, gib), 1, one, false)
	b.claim(2, limits(two, 1, gib), 1, two, false)
	if cpu, memory := b.share(1); cpu != 0 || memory != 0 {
		t.Errorf("there is enough, and yet one may have %v cores, %v bytes", cpu, memory)
	}
	b.claim(1, limits(one, 1, gib), 1, one, true) // wants four
	if cpu, memory := b.share(1); cpu != 3 || memory != 3*gib {
		t.Errorf("beside one that has one of four: %v cores, %v GiB", cpu, memory/gib)
	}
	b.claim(2, limits(two, 1, gib), 1, two, true)
	for id := bpf.SiteID(1); id <= 2; id++ {
		if cpu, memory := b.share(id); cpu != 2 || memory != 2*gib {
			t.Errorf("two alike, who want it all: site %d has %v cores, %v GiB", id, cpu, memory/gib)
		}
	}
	b.claim(2, limits(two, 4, gib), 3, two, true) // promised three cores
	if cpu, _ := b.share(1); cpu < 1 || cpu > 1.01 {
		t.Errorf("beside one that was promised three: %v", cpu)
	}
	b.drop(2)
	if cpu, memory := b.share(1); cpu != 0 || memory != 0 {
		t.Errorf("alone: %v, %v", cpu, memory)
	}
	b.drop(1)
	if math.Abs(b.wanted.cpu.Want) > 1e-9 || math.Abs(b.wanted.memory.Want) > 1e-3 || len(b.claims) != 0 {
		t.Errorf("nobody is left, and yet %+v", b.wanted)
	}
}

// TestBudgetBurst: sites that wake together share what there is.
func TestBudgetBurst(t *testing.T) {
	b := newBudget(2, 0)
	s := scaled(0.5, 2, 0, 0)
	burst := func(id bpf.SiteID, s *spec.Site) float64 {
		l := b.burst(id, s)
		return l.CPU.Budget
	}
	if cpu := burst(1, s); cpu != 0 {
		t.Errorf("alone: %v cores", cpu)
	}
	if cpu := burst(2, s); cpu != 1 {
		t.Errorf("the second of two: %v cores", cpu)
	}
	if cpu := burst(3, &spec.Site{Limits: spec.Limits{CPU: spec.CPULimits{Max: 2}}}); cpu != 0 {
		t.Errorf("what is fixed is not bounded: %v", cpu)
	}
}

func TestNewLimits(t *testing.T) {
	s := scaled(0.25, 4, 64*spec.MiB, spec.GiB)
	s.Limits.Memory.High = 512 * spec.MiB
	l := NewLimits(s.Limits, everything)
	if l.CPU != (detect.Limit{Now: 4, Min: 0.25, Max: 4, Step: 2}) || l.Memory.Max != 512<<20 || l.Memory.Min != 64<<20 || l.Pids.Max != 0 {
		t.Errorf("limits %+v", l)
	}
	if none := NewLimits(s.Limits, func(string) bool { return false }); none.CPU.Max != 0 || none.Memory.Max != 0 || none.Pids.Max != 0 || none.IO != nil {
		t.Errorf("without controllers: %+v", none)
	}
	host := cgroup.Host{Lacks: []cgroup.Lack{{Controller: "cpu", Why: "the controller belongs to cgroup v1", Remedy: "boot without it"}}}
	why := Lacking(s.Limits, host, func(c string) bool { return c == "memory" })
	if len(why) != 1 || why[0] != "limits.cpu: the controller belongs to cgroup v1; boot without it" {
		t.Errorf("why not: %q", why)
	}
	if start := startLimits(s.Limits); start.CPU != 4 || start.MemoryHigh != 512<<20 || start.MemoryMax != 1<<30 || start.CPUWeight != 25 {
		t.Errorf("a start's limits: %+v", start)
	}
}

// TestMeter: rates are those of half a second or more, and a replica's first are those since its start.
func TestMeter(t *testing.T) {
	var m Meter
	at := func(ms uint64) map[site.ReplicaID]Sample {
		return map[site.ReplicaID]Sample{1: {at: ms * 1e6, Counted: ms * 1e6, Load: bpf.Load{ConnsTotal: ms}}}
	}
	started := func(site.ReplicaID) uint64 { return 1000 * 1e6 }
	m.Add(at(1100), started)
	if base := m.Base[1]; base.at != 1000*1e6 || base.Load.ConnsTotal != 0 {
		t.Errorf("the first base is %+v", base)
	}
	for _, tt := range []struct{ now, base uint64 }{{1200, 1000}, {1599, 1000}, {1600, 1100}, {1700, 1100}, {2100, 1600}, {9000, 2100}} {
		m.Add(at(tt.now), started)
		if got := m.Base[1].at / 1e6; got != tt.base {
			t.Errorf("at %d the base is of %d, want %d", tt.now, got, tt.base)
		}
	}
	now := at(9100)
	m.restart(now)
	if got := now[1].Over(m.Base[1]); got != 0 {
		t.Errorf("anew, and yet over %v s", got)
	}
	m.Add(map[site.ReplicaID]Sample{2: {at: 9200 * 1e6}}, started)
	if _, there := m.Base[1]; there || len(m.Base) != 1 {
		t.Errorf("a replica that is gone is remembered: %+v", m.Base)
	}
	for _, tt := range []struct {
		now, before uint64
		seconds     float64
		want        float64
	}{{10, 4, 2, 3}, {4, 10, 2, 0}, {4, 0, 0, 0}} {
		if got := Rate(tt.now, tt.before, tt.seconds); got != tt.want {
			t.Errorf("rate(%d, %d, %v) = %v", tt.now, tt.before, tt.seconds, got)
		}
	}
}

// fakeRef is a site that is never live.
type fakeRef struct{ name string }

func (*fakeRef) ID() bpf.SiteID { return 0 }

func (r *fakeRef) Name() string { return r.name }

func (*fakeRef) WithScaled(func(Site)) {}

func (*fakeRef) TryWithScaled(func(Site)) bool { return true }

// TestLooks: a site that is told of often is evaluated once, timed from the first, and before those that are looked at
// because it is time; none is lost.
func TestLooks(t *testing.T) {
	l := newEvaluations()
	a, b, c := &fakeRef{name: "a"}, &fakeRef{name: "b"}, &fakeRef{name: "c"}
	l.add(c, Cause{})
	l.add(a, Cause{})
	l.add(b, Cause{kind: "conns", at: 7})
	for at := uint64(20); at > 5; at-- {
		l.add(a, Cause{kind: "latency", at: at})
	}
	if e, causes, ok := l.take(true); !ok || e != Ref(b) || earliest(causes) != (Cause{kind: "conns", at: 7}) {
		t.Errorf("first %v, %v, %v", e, causes, ok)
	}
	e, causes, ok := l.take(true)
	if !ok || e != Ref(a) || len(causes) != mostCauses || earliest(causes).at > 20 || earliest(causes).at == 0 {
		t.Errorf("second %v, %v, %v", e, causes, ok)
	}
	if e, _, ok := l.take(true); ok {
		t.Errorf("of %s nothing was told", e.Name())
	}
	l.add(a, Cause{}) // again, and only for this
	for _, want := range []*fakeRef{c, a} {
		if e, causes, ok := l.take(false); !ok || e != Ref(want) || earliest(causes) != (Cause{}) {
			t.Errorf("then %v, %v, %v; want %s", e, causes, ok, want.name)
		}
	}
	if _, _, ok := l.take(false); ok {
		t.Error("one more")
	}
	if earliest([]Cause{{}, {}}) != (Cause{}) {
		t.Error("what nobody told has a time")
	}
}

// TestLooksAreShared: workers side by side see each site, told of or not.
func TestLooksAreShared(t *testing.T) {
	const sites, each = 50, 200
	l := newEvaluations()
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan Ref, sites*each)
	var working, adders sync.WaitGroup
	for range workers {
		working.Go(func() { l.work(ctx, func(e Ref, _ []Cause) { seen <- e }) })
	}
	want := map[Ref]bool{}
	for i := range sites {
		e := &fakeRef{}
		want[e] = true
		adders.Go(func() {
			for range each {
				l.add(e, Cause{at: uint64(i % 3)})
			}
		})
	}
	adders.Wait()
	for len(want) > 0 {
		delete(want, testutil.Receive(t, 10*time.Second, "a look at each", seen))
	}
	cancel()
	working.Wait()
}

func TestSmooth(t *testing.T) {
	var c time.Duration
	smooth(&c, 80*time.Millisecond)
	if c != 80*time.Millisecond {
		t.Errorf("the first measurement is taken as it is: %s", c)
	}
	smooth(&c, 160*time.Millisecond)
	if c != 90*time.Millisecond {
		t.Errorf("then an eighth of the difference: %s", c)
	}
}
