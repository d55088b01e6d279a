package scale

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/spec"
)

// twoDisks are limits of which three rates of two disks are scaled, and one is fixed.
func twoDisks() spec.Limits {
	return spec.Limits{IO: []spec.IOLimit{
		{Device: "/fixed", WriteBytes: spec.ByteRate{Max: 7}},
		{Device: "/a", ReadBytes: spec.ByteRate{Min: 10, Max: 100}, WriteBytes: spec.ByteRate{Max: 50}, Writes: spec.OpsRate{Min: 1, Max: 8, Step: 4}},
		{Device: "/b", Reads: spec.OpsRate{Min: 20, Max: 200}},
	}}
}

// onDisks has every path on a disk of its own, but for /none.
func onDisks(path string) (cgroup.Disk, error) {
	if path == "/none" {
		return cgroup.Disk{}, cgroup.ErrNoDisk
	}
	return cgroup.Disk{Major: 8, Minor: uint32(path[1])}, nil
}

func ratesOf(l spec.Limits) Limits { return Limits{spec: l, IO: newRates(l.IO, onDisks)} }

func TestNewRates(t *testing.T) {
	l := ratesOf(twoDisks())
	var names []string
	for part := range l.IO {
		names = append(names, l.rateName(part))
	}
	if want := []string{"rbps of /a", "wiops of /a", "riops of /b"}; !cmp.Equal(names, want) {
		t.Errorf("the rates are %q, want %q", names, want)
	}
	if got := *l.of(detect.IO, 1); got != (detect.Limit{Now: 8, Min: 1, Max: 8, Step: 4}) {
		t.Errorf("writes of /a: %+v", got)
	}
	if none := newRates([]spec.IOLimit{{Device: "/none", Reads: spec.OpsRate{Min: 1, Max: 2}}}, onDisks); none != nil {
		t.Errorf("of a disk that is not there: %+v", none)
	}
}

// TestRateLine: what is written of a disk are all of its rates: the one that moves, those that stay, those that are fixed.
func TestRateLine(t *testing.T) {
	l := ratesOf(twoDisks())
	l.IO[0].limit.Now = 40.2
	got, err := setLimit([]*written{}, &l, detect.IO, 1, 2.5)
	if err != nil || got != 2.5 {
		t.Errorf("%v, %v", got, err)
	}
	w := &written{}
	if _, err := setLimit([]*written{w}, &l, detect.IO, 1, 2.5); err != nil {
		t.Fatal(err)
	}
	want := []cgroup.Change{{IO: []cgroup.IOLimit{{Device: "/a", ReadBytes: 41, WriteBytes: 50, Writes: 3}}}}
	if d := cmp.Diff(want, w.changes); d != "" {
		t.Error(d)
	}
}

func TestReadRates(t *testing.T) {
	dir := t.TempDir()
	text := "8:97 rbps=30 wbps=50 riops=max wiops=max\n8:98 rbps=max wbps=max riops=9 wiops=max\n"
	if err := os.WriteFile(filepath.Join(dir, "io.max"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	l := readLimits(dir, ratesOf(twoDisks()))
	for part, want := range []float64{30, 8, 20} { // max is what the spec has at most; less than its min was another spec's
		if got := l.IO[part].limit.Now; got != want {
			t.Errorf("%s is %v, want %v", l.rateName(part), got, want)
		}
	}
}

func TestIOUse(t *testing.T) {
	l := ratesOf(twoDisks())
	count := func(at time.Duration, a, b cgroup.Rates, stall time.Duration) Sample {
		return Sample{at: uint64(at), Usage: cgroup.Usage{
			IO: cgroup.IOUsage{Known: true, Disks: []cgroup.DiskUsage{
				{Disk: cgroup.Disk{Major: 8, Minor: 'a'}, Done: a}, {Disk: cgroup.Disk{Major: 8, Minor: 'b'}, Done: b},
			}},
			IOPressure: cgroup.Stall{Known: true, Some: stall},
		}}
	}
	base := count(time.Second, cgroup.Rates{100, 0, 0, 5}, cgroup.Rates{}, time.Second)
	now := count(3*time.Second, cgroup.Rates{300, 9, 9, 6}, cgroup.Rates{0, 0, 50, 0}, 2*time.Second)
	want := []detect.Resource{{Used: 100, Stall: 0.5}, {Used: 0.5, Stall: 0.5}, {Used: 25, Stall: 0.5}}
	if d := cmp.Diff(want, ioUse(now, base, &l)); d != "" {
		t.Error(d)
	}
	soon := now
	soon.at = base.at + uint64(rateWindow) - 1
	if got := ioUse(soon, base, &l); got[0] != (detect.Resource{}) {
		t.Errorf("over less than the kernel's bursts: %+v", got)
	}
	// A disk that was not touched before has no line.
	if got := ioUse(now, Sample{at: uint64(time.Second), Usage: cgroup.Usage{IO: cgroup.IOUsage{Known: true}}}, &l); got[2].Used != 25 {
		t.Errorf("first touched: %+v", got)
	}
}

func TestDisks(t *testing.T) {
	l := ratesOf(twoDisks())
	l.IO[0].limit.Now = 25
	got := Disks(l.spec.IO, &l)
	want := []DiskRates{
		{Device: "/fixed", Now: cgroup.Rates{0, 7, 0, 0}},
		{Device: "/a", Now: cgroup.Rates{25, 50, 0, 8}, Min: cgroup.Rates{10, 0, 0, 1}, Max: cgroup.Rates{100, 0, 0, 8}},
		{Device: "/b", Now: cgroup.Rates{0, 0, 200, 0}, Min: cgroup.Rates{0, 0, 20, 0}, Max: cgroup.Rates{0, 0, 200, 0}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestDiskBudget: nobody is bounded while all could have the most; then each has its share, whatever the one who came
// first uses, and together they have no more than there is.
func TestDiskBudget(t *testing.T) {
	b := newBudget(0, 0)
	key := IOKey{disk: cgroup.Disk{Major: 8, Minor: 1}, rate: 1}
	b.io[key] = &diskPool{total: 100, claims: map[bpf.SiteID]ioClaim{}}
	rates := func(now float64) []ioRate {
		return []ioRate{{IOKey: key, limit: detect.Limit{Now: now, Min: 10, Max: 80}}, {IOKey: IOKey{rate: 3}, limit: detect.Limit{Now: 1, Min: 1, Max: 2}}}
	}
	may := func(id bpf.SiteID) float64 {
		r := rates(1)
		b.boundIO(id, r)
		if r[1].limit.Budget != 0 {
			t.Errorf("a rate without a budget is bounded: %v", r[1].limit.Budget)
		}
		return r[0].limit.Budget
	}
	if got := may(1); got != 0 {
		t.Errorf("who claims nothing is bounded: %v", got)
	}
	b.putIO(1, rates(80), 1, 0, false)
	if got := may(1); got != 0 {
		t.Errorf("alone: %v", got)
	}
	b.putIO(2, rates(10), 1, 0, false)
	if one, two := may(1), may(2); one != 0 || two != 50 {
		t.Errorf("one with all, one with the least that could have half: %v and %v", one, two)
	}
	b.putIO(2, rates(50), 1, 0, true)
	if one, two := may(1), may(2); one != 50 || two != 50 {
		t.Errorf("both want all: %v and %v", one, two)
	}
	b.putIO(1, rates(50), 1, 0, false)
	if one, two := may(1), may(2); one != 50 || two != 50 {
		t.Errorf("at their shares: %v and %v, they would go up and down for ever", one, two)
	}
	b.putIO(2, rates(20), 2, 0, false) // two replicas
	if one, two := may(1), may(2); one != 60 || two != 27.5 {
		t.Errorf("beside one with two replicas: %v and %v", one, two)
	}
	if ids := b.sharing(time.Now()); ids != nil {
		t.Errorf("enough for all, and yet %v are to share", ids)
	}
	b.drop(2)
	if got := may(1); got != 0 || may(2) != 0 {
		t.Errorf("alone again: %v", got)
	}
	b.drop(1)
	if p := b.io[key]; p.wanted != 0 || len(p.claims) != 0 {
		t.Errorf("nobody is left, and yet %+v", p)
	}
}

// TestStartWithinDiskBudget: a start's io.max has what the budget leaves, and what is fixed.
func TestStartWithinDiskBudget(t *testing.T) {
	l := ratesOf(twoDisks())
	l.IO[0].limit.Budget = 30
	_, l.IO[0].limit.Now = l.IO[0].limit.Bounds()
	if got, want := l.line(0, l.IO[0].limit.Now), (cgroup.IOLimit{Device: "/a", ReadBytes: 30, WriteBytes: 50, Writes: 8}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// marks is a cgroup with memory limits, of which so much is in use.
type marks struct {
	t               *testing.T
	high, most, use uint64
	wrote           []string
	fail            error
}

func (m *marks) Apply(c cgroup.Change) error {
	if m.fail != nil {
		return m.fail
	}
	set := func(file string, mark *uint64, to uint64) error {
		m.wrote = append(m.wrote, file)
		if *mark = to; to >= m.use {
			return nil
		}
		*mark = m.use
		return &cgroup.InUseError{File: file, Wanted: to, Set: m.use, InUse: m.use}
	}
	var err error
	if c.MemoryHigh != nil {
		err = errors.Join(err, set("high", &m.high, *c.MemoryHigh))
	}
	if c.MemoryMax != nil {
		err = errors.Join(err, set("max", &m.most, *c.MemoryMax))
	}
	if m.most < m.high {
		m.t.Errorf("memory.max %d is below memory.high %d", m.most, m.high)
	}
	return err
}

// TestFollowedMemory: memory.max is never below memory.high, goes up before it and down after it, as far as that went.
func TestFollowedMemory(t *testing.T) {
	const mib = 1 << 20
	l := Limits{spec: spec.Limits{Memory: spec.MemoryLimits{Min: 64 * mib, Max: 1024 * mib, Follow: true}}}
	m := &marks{t: t, high: 1024 * mib, most: 1024 * mib}
	move := func(to, want float64, high, most uint64, order ...string) {
		t.Helper()
		m.wrote = nil
		got, err := setLimit([]*marks{m}, &l, detect.Memory, 0, to)
		if err != nil || got != want || m.high != high || m.most != most || !cmp.Equal(m.wrote, order) {
			t.Errorf("to %v: %v, %v; high %d MiB, max %d MiB, wrote %q", to/mib, got/mib, err, m.high/mib, m.most/mib, m.wrote)
		}
		l.Memory.Now = got
	}
	l.Memory.Now = 1024 * mib
	move(400*mib, 400*mib, 400*mib, 500*mib, "high", "max")
	m.use = 200 * mib
	move(64*mib, 200*mib, 200*mib, 250*mib, "high", "max") // what is in use stays, and has its distance too
	m.use = 0
	move(64*mib, 64*mib, 64*mib, 80*mib, "high", "max") // 16 MiB at least
	move(128*mib, 128*mib, 128*mib, 160*mib, "max", "high")
	move(1000*mib, 1000*mib, 1000*mib, 1024*mib, "max", "high")
	move(1024*mib, 1024*mib, 1024*mib, 1024*mib, "max", "high")
	m.fail = errors.New("broken")
	if _, err := setLimit([]*marks{m}, &l, detect.Memory, 0, 64*mib); !errors.Is(err, m.fail) {
		t.Errorf("a write that fails: %v", err)
	}
}

func TestSwapAwake(t *testing.T) {
	for _, tt := range []struct {
		memory  spec.MemoryLimits
		limit   int64
		bounded bool
	}{
		{spec.MemoryLimits{}, 0, false},
		{spec.MemoryLimits{Max: spec.GiB}, cgroup.NoSwap, true},
		{spec.MemoryLimits{Max: spec.GiB, Swap: spec.AllSwap}, 0, false},
		{spec.MemoryLimits{Max: spec.GiB, Swap: spec.Swap(spec.MiB)}, 1 << 20, true},
		{spec.MemoryLimits{Swap: spec.NoSwap}, cgroup.NoSwap, true},
	} {
		limit, bounded := SwapAwake(tt.memory)
		if limit != tt.limit || bounded != tt.bounded {
			t.Errorf("%+v: %d, %v", tt.memory, limit, bounded)
		}
		if start := startLimits(spec.Limits{Memory: tt.memory}); start.MemorySwap != tt.limit {
			t.Errorf("%+v: a start has %d", tt.memory, start.MemorySwap)
		}
	}
	if math.MaxInt64 != int64(spec.AllSwap) {
		t.Error("no size is to mean unlimited")
	}
}

// TestBurstIsOneChange: what a sleeping replica is given are all limits that can move, each disk once.
func TestBurstIsOneChange(t *testing.T) {
	sp := scaled(0.25, 4, 64*spec.MiB, spec.GiB).Limits
	sp.Memory.Follow, sp.Pids, sp.IO = true, spec.PidsLimits{Min: 8, Max: 64}, twoDisks().IO
	l := NewLimits(sp, func(c string) bool { return c != "io" })
	l.IO = newRates(sp.IO, onDisks)
	want := cgroup.Change{
		CPU: new(4.0), MemoryHigh: new(uint64(1 << 30)), MemoryMax: new(uint64(1 << 30)), Pids: new(int64(64)),
		IO: []cgroup.IOLimit{{Device: "/a", ReadBytes: 100, WriteBytes: 50, Writes: 8}, {Device: "/b", Reads: 200}},
	}
	if d := cmp.Diff(want, l.everything()); d != "" {
		t.Error(d)
	}
	none := NewLimits(sp, func(string) bool { return false })
	if d := cmp.Diff(cgroup.Change{}, none.everything()); d != "" {
		t.Errorf("without controllers: %s", d)
	}
}
