package node

import (
	"context"
	"math"
	"os"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

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
	limits := func(s *spec.Site, cpu, memory float64) siteLimits {
		l := newLimits(s.Limits, everything)
		l.cpu.Now, l.memory.Now = cpu, memory
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
		return l.cpu.Budget
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
	l := newLimits(s.Limits, everything)
	if l.cpu != (detect.Limit{Now: 4, Min: 0.25, Max: 4, Step: 2}) || l.memory.Max != 512<<20 || l.memory.Min != 64<<20 || l.pids.Max != 0 {
		t.Errorf("limits %+v", l)
	}
	if none := newLimits(s.Limits, func(string) bool { return false }); none.cpu.Max != 0 || none.memory.Max != 0 || none.pids.Max != 0 || none.io != nil {
		t.Errorf("without controllers: %+v", none)
	}
	host := cgroup.Host{Lacks: []cgroup.Lack{{Controller: "cpu", Why: "the controller belongs to cgroup v1", Remedy: "boot without it"}}}
	why := lacking(s.Limits, host, func(c string) bool { return c == "memory" })
	if len(why) != 1 || why[0] != "limits.cpu: the controller belongs to cgroup v1; boot without it" {
		t.Errorf("why not: %q", why)
	}
	if start := limits(s.Limits); start.CPU != 4 || start.MemoryHigh != 512<<20 || start.MemoryMax != 1<<30 || start.CPUWeight != 25 {
		t.Errorf("a start's limits: %+v", start)
	}
}

// TestMeter: rates are those of half a second or more, and a replica's first are those since its start.
func TestMeter(t *testing.T) {
	var m meter
	at := func(ms uint64) map[site.ReplicaID]sample {
		return map[site.ReplicaID]sample{1: {at: ms * 1e6, counted: ms * 1e6, load: bpf.Load{ConnsTotal: ms}}}
	}
	started := func(site.ReplicaID) uint64 { return 1000 * 1e6 }
	m.add(at(1100), started)
	if base := m.base[1]; base.at != 1000*1e6 || base.load.ConnsTotal != 0 {
		t.Errorf("the first base is %+v", base)
	}
	for _, tt := range []struct{ now, base uint64 }{{1200, 1000}, {1599, 1000}, {1600, 1100}, {1700, 1100}, {2100, 1600}, {9000, 2100}} {
		m.add(at(tt.now), started)
		if got := m.base[1].at / 1e6; got != tt.base {
			t.Errorf("at %d the base is of %d, want %d", tt.now, got, tt.base)
		}
	}
	now := at(9100)
	m.restart(now)
	if got := now[1].over(m.base[1]); got != 0 {
		t.Errorf("anew, and yet over %v s", got)
	}
	m.add(map[site.ReplicaID]sample{2: {at: 9200 * 1e6}}, started)
	if _, there := m.base[1]; there || len(m.base) != 1 {
		t.Errorf("a replica that is gone is remembered: %+v", m.base)
	}
	for _, tt := range []struct {
		now, before uint64
		seconds     float64
		want        float64
	}{{10, 4, 2, 3}, {4, 10, 2, 0}, {4, 0, 0, 0}} {
		if got := rate(tt.now, tt.before, tt.seconds); got != tt.want {
			t.Errorf("rate(%d, %d, %v) = %v", tt.now, tt.before, tt.seconds, got)
		}
	}
}

// TestLooks: a site that is told of often is looked at once, timed from the first, and before those that are looked at
// because it is time; none is forgotten.
func TestLooks(t *testing.T) {
	l := newLooks()
	a, b, c := &entry{name: "a"}, &entry{name: "b"}, &entry{name: "c"}
	l.add(c, cause{})
	l.add(a, cause{})
	l.add(b, cause{kind: "conns", at: 7})
	for at := uint64(20); at > 5; at-- {
		l.add(a, cause{kind: "latency", at: at})
	}
	if e, causes, ok := l.take(true); !ok || e != b || first(causes) != (cause{kind: "conns", at: 7}) {
		t.Errorf("first %v, %v, %v", e, causes, ok)
	}
	e, causes, ok := l.take(true)
	if !ok || e != a || len(causes) != mostCauses || first(causes).at > 20 || first(causes).at == 0 {
		t.Errorf("second %v, %v, %v", e, causes, ok)
	}
	if e, _, ok := l.take(true); ok {
		t.Errorf("of %s nothing was told", e.name)
	}
	l.add(a, cause{}) // again, and only for this
	for _, want := range []*entry{c, a} {
		if e, causes, ok := l.take(false); !ok || e != want || first(causes) != (cause{}) {
			t.Errorf("then %v, %v, %v; want %s", e, causes, ok, want.name)
		}
	}
	if _, _, ok := l.take(false); ok {
		t.Error("one more")
	}
	if first([]cause{{}, {}}) != (cause{}) {
		t.Error("what nobody told has a time")
	}
}

// TestLooksAreShared: workers side by side see each site, told of or not.
func TestLooksAreShared(t *testing.T) {
	const sites, each = 50, 200
	l := newLooks()
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan *entry, sites*each)
	var workers, adders sync.WaitGroup
	for range lookWorkers {
		workers.Go(func() { l.work(ctx, func(e *entry, _ []cause) { seen <- e }) })
	}
	want := map[*entry]bool{}
	for i := range sites {
		e := &entry{}
		want[e] = true
		adders.Go(func() {
			for range each {
				l.add(e, cause{at: uint64(i % 3)})
			}
		})
	}
	adders.Wait()
	for len(want) > 0 {
		delete(want, testutil.Receive(t, 10*time.Second, "a look at each", seen))
	}
	cancel()
	workers.Wait()
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

// TestMetricsAreDocumented: docs/metrics.md has each metric that there is, and no others.
func TestMetricsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	descs := make(chan *prometheus.Desc, 100)
	for _, c := range append(newScaleMetrics().collectors(), &collector{}) {
		c.Describe(descs)
	}
	close(descs)
	have := map[string]bool{}
	for d := range descs {
		have[regexp.MustCompile(`fqName: "([^"]+)"`).FindStringSubmatch(d.String())[1]] = true
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `(fcnode_[a-z_]+)` \\|").FindAllStringSubmatch(string(page), -1) {
		if !have[row[1]] {
			t.Errorf("docs/metrics.md has %s, which there is not", row[1])
		}
		delete(have, row[1])
	}
	for name := range have {
		t.Errorf("docs/metrics.md does not have %s", name)
	}
}
