package cgroup

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeGroup is a group of plain files, for what needs no kernel.
func fakeGroup(t *testing.T, has []string, files map[string]string) *Group {
	t.Helper()
	p := &Parent{mount: t.TempDir(), group: "/fcnode", has: has}
	g := p.Open("r-1")
	if err := os.MkdirAll(g.Path(), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(g.Path(), name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func contents(t *testing.T, g *Group, names ...string) map[string]string {
	t.Helper()
	m := map[string]string{}
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(g.Path(), name))
		if err != nil {
			t.Fatal(err)
		}
		m[name] = string(b)
	}
	return m
}

func TestDifference(t *testing.T) {
	a := IOLimit{Device: "/a", ReadBytes: 1}
	from := Limits{CPU: 1, CPUWeight: 100, MemoryHigh: 5, Pids: 7, IO: []IOLimit{a, {Device: "/b", Reads: 1}}}
	if d := Difference(from, from); !cmp.Equal(d, Change{}) {
		t.Errorf("from one to the same: %+v", d)
	}
	to := Limits{CPU: 2, CPUWeight: 100, MemoryMax: 9, Pids: 7, CPUSet: "0", IO: []IOLimit{a, {Device: "/c", Writes: 2}}}
	want := Change{
		CPU: new(2.0), MemoryHigh: new(uint64(0)), MemoryMax: new(uint64(9)), CPUSet: new("0"),
		IO: []IOLimit{{Device: "/c", Writes: 2}, {Device: "/b"}},
	}
	if d := cmp.Diff(want, Difference(from, to)); d != "" {
		t.Error(d)
	}
}

// TestApplyWritesWhatChanges: and nothing else, not even what would be the
// same.
func TestApplyWritesWhatChanges(t *testing.T) {
	g := fakeGroup(t, []string{"cpu", "pids", "memory"}, map[string]string{
		"cpu.max": "............", "cpu.weight": "...", "pids.max": "...", "memory.low": "...",
	})
	if err := g.Apply(Change{CPU: new(0.5), Pids: new(int64(0)), MemoryLow: new(uint64(512))}); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"cpu.max": "50000 100000", "cpu.weight": "...", "pids.max": "max", "memory.low": "512"}
	if got := contents(t, g, slices.Collect(maps.Keys(want))...); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if err := g.Apply(Change{CPUWeight: new(uint64(20_000))}); err == nil || !strings.Contains(err.Error(), "weight") {
		t.Errorf("nonsense: %v", err)
	}
}

// TestApplyWithoutControllers: what can be limited is, of the rest the error
// says why not.
func TestApplyWithoutControllers(t *testing.T) {
	g := fakeGroup(t, []string{"pids"}, map[string]string{"pids.max": ".."})
	err := g.Apply(Change{CPU: new(0.5), Pids: new(int64(64)), MemoryMax: new(uint64(1 << 20)), IO: []IOLimit{{Device: "/", Reads: 1}}})
	var lacking *ControllerError
	if !errors.Is(err, ErrNoController) || !errors.As(err, &lacking) || lacking.Lack.Controller != "cpu" {
		t.Errorf("%v, want ErrNoController, of cpu first", err)
	}
	for _, word := range []string{"limits.cpu", "limits.memory", "limits.io"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q is not in %q", word, err)
		}
	}
	if got := contents(t, g, "pids.max")["pids.max"]; got != "64" {
		t.Errorf("pids.max is %q", got)
	}
	for name, err := range map[string]error{
		"reclaim": second(g.Reclaim(t.Context(), 1)), "memory": second(g.MemoryCurrent()),
		"pressure": second(g.Pressure(CPU, minWindow, minWindow)),
	} {
		if !errors.Is(err, ErrNoController) {
			t.Errorf("%s: %v, want ErrNoController", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestApplyMemoryInUse: a memory limit is lowered to what is in use and some
// room, where that cannot be reclaimed (there is no memory.reclaim here).
func TestApplyMemoryInUse(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		name            string
		before          string
		used, ask, want uint64
		set             string
	}{
		{"enough room", "max", 10 * mib, 32 * mib, 0, "33554432"},
		{"raised, and full", "33554432", 32 * mib, 33 * mib, 0, "34603008"},
		{"none", "33554432", 32 * mib, 0, 0, "max"},
		{"in use", "134217728", 64 * mib, 32 * mib, 68 * mib, "71303168"},
		{"in use, and already as low as it may be", "68157440", 64 * mib, 32 * mib, 65 * mib, "68157440"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := fakeGroup(t, []string{"memory"}, map[string]string{"memory.max": tt.before, "memory.current": number(tt.used)})
			err := g.Apply(Change{MemoryMax: &tt.ask})
			var inUse *InUseError
			if errors.As(err, &inUse) != (tt.want != 0) || (inUse == nil && err != nil) {
				t.Fatalf("error %v", err)
			}
			if inUse != nil && (inUse.Set != tt.want || inUse.Wanted != tt.ask || inUse.InUse != tt.used) {
				t.Errorf("%+v, want %d", inUse, tt.want)
			}
			// A plain file keeps what a shorter value does not cover.
			if got := contents(t, g, "memory.max")["memory.max"]; !strings.HasPrefix(got, tt.set) {
				t.Errorf("memory.max is %q, want %q", got, tt.set)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	g := fakeGroup(t, []string{"cpu", "memory", "pids", "io"}, map[string]string{
		"cpu.stat":            "usage_usec 1500000\nuser_usec 1\nsystem_usec 2\nnr_periods 9\nnr_throttled 4\nthrottled_usec 250000\n",
		"memory.current":      "4096\n",
		"memory.swap.current": "8192\n",
		"memory.stat":         "anon 1000\nfile 3000\nactive_file 1000\ninactive_file 2000\n",
		"memory.events":       "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 0\n",
		"pids.current":        "3\n",
		"pids.events":         "max 7\n",
		"io.stat":             "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n254:0\n7:0 rbytes=5 wbytes=0 rios=1 wios=0\n",
		"cpu.pressure":        "some avg10=0.00 avg60=0.00 avg300=0.00 total=1000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=10\n",
	})
	got, err := g.Usage()
	if err != nil {
		t.Fatal(err)
	}
	want := Usage{
		CPU: CPUUsage{Known: true, Time: 1500e6, ThrottlingKnown: true, Periods: 9, Throttled: 4, ThrottledTime: 250e6},
		Memory: MemoryUsage{
			Known: true, Current: 4096, Swap: 8192, Idle: 2000, MemoryEvents: MemoryEvents{Low: 1, High: 2, Max: 3, OOM: 4, OOMKill: 5},
		},
		Pids: PidsUsage{Known: true, Current: 3, Refused: 7},
		IO: IOUsage{
			Known: true, ReadBytes: 15, WriteBytes: 20, Reads: 2, Writes: 2,
			Disks: []DiskUsage{{Disk{8, 0}, Rates{10, 20, 1, 2}}, {Disk: Disk{254, 0}}, {Disk{7, 0}, Rates{5, 0, 1, 0}}},
		},
		CPUPressure: Stall{Known: true, Some: 1e6, Full: 1e4},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := (&Parent{mount: t.TempDir(), group: "/g"}).Open("gone").Usage(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a group that is gone: %v", err)
	}
}

// TestMemoryOfAll: what all groups use is read from their parent; without the controller it is not known.
func TestMemoryOfAll(t *testing.T) {
	p := fakeGroup(t, []string{"memory"}, nil).parent
	for name, text := range map[string]string{"memory.current": "4096\n", "memory.stat": "inactive_file 2000\n"} {
		if err := os.WriteFile(filepath.Join(p.Path(), name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if m, err := p.Memory(); err != nil || m.Current != 4096 || m.Idle != 2000 {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := fakeGroup(t, nil, nil).parent.Memory(); !errors.Is(err, ErrNoController) {
		t.Errorf("without the controller: %v", err)
	}
	if _, err := (&Parent{mount: t.TempDir(), group: "/gone", has: []string{"memory"}}).Memory(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of a group that is gone: %v", err)
	}
}

func TestFindDisk(t *testing.T) {
	if _, err := FindDisk("/proc/self"); !errors.Is(err, ErrNoDisk) {
		t.Errorf("/proc: %v, want ErrNoDisk", err)
	}
	if _, err := FindDisk("/nowhere"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nowhere: %v, want ErrNotExist", err)
	}
	// Every block device leads to a disk, a partition to its own.
	devices, err := os.ReadDir("/sys/dev/block")
	if err != nil {
		t.Skipf("this machine shows no block devices: %v", err)
	}
	for _, d := range devices {
		dir := filepath.Join("/sys/dev/block", d.Name())
		b, err := os.ReadFile(filepath.Join(dir, "uevent"))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(b), "DEVNAME=")
		name, _, _ := strings.Cut(rest, "\n")
		disk, err := FindDisk("/dev/" + name)
		if errors.Is(err, os.ErrNotExist) {
			continue // the folder of devices may be another's
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := os.Stat(filepath.Join("/sys/dev/block", disk.String(), "partition")); err == nil {
			t.Errorf("%s leads to %s, which is a partition", name, disk)
		}
	}
}

func TestIOWrites(t *testing.T) {
	if _, err := ioWrites([]IOLimit{{Device: "/proc"}}); !errors.Is(err, ErrNoDisk) {
		t.Errorf("/proc: %v, want ErrNoDisk", err)
	}
	disk, err := FindDisk(t.TempDir())
	if err != nil {
		t.Skipf("the folder of temporary files is on no disk: %v", err)
	}
	a, b := t.TempDir(), t.TempDir()
	ws, err := ioWrites([]IOLimit{{Device: a, ReadBytes: 1 << 20, Writes: 5}})
	want := []write{{"io", "io.max", disk.String() + " rbps=1048576 wbps=max riops=max wiops=5"}}
	if err != nil || !slices.Equal(ws, want) {
		t.Errorf("%v %v, want %v", ws, err, want)
	}
	if _, err := ioWrites([]IOLimit{{Device: a}, {Device: b}}); err == nil || !strings.Contains(err.Error(), b) {
		t.Errorf("two paths to one disk: %v", err)
	}
}

func TestDetectSwap(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
	on, off := file("on", "Y\n"), file("off", "N\n")
	for _, tt := range []struct {
		name, swaps, zswap string
		want               Swap
		text               string
	}{
		{"none", head, on, Swap{}, "no swap"},
		{"zram", head + "/dev/zram0 partition 2048 1024 100\n", off, Swap{Size: 2 << 20, Used: 1 << 20, Zram: true}, "(zram), 1 of 2 MiB"},
		{"disk", head + "/swapfile file 1024 0 -2\n", off, Swap{Size: 1 << 20, Disk: true}, "to disk"},
		{"zswap", head + "/dev/sda2 partition 1024 0 -2\n", on, Swap{Size: 1 << 20, Disk: true, Zswap: true}, "(zswap)"},
		{"both", head + "/dev/zram1 partition 1024 0 5\n/dev/sda2 partition 1024 0 -2\n", off, Swap{Size: 2 << 20, Zram: true, Disk: true}, "and disk"},
	} {
		got, err := detectSwap(file("swaps", tt.swaps), tt.zswap)
		if err != nil || got != tt.want || !strings.Contains(got.String(), tt.text) {
			t.Errorf("%s: %+v %v (%s), want %+v", tt.name, got, err, got, tt.want)
		}
	}
	if got, err := detectSwap(filepath.Join(dir, "gone"), on); err != nil || got != (Swap{}) {
		t.Errorf("a kernel without swap: %+v %v", got, err)
	}
	if _, err := detectSwap(file("swaps", head+"/swap file big 0 -2\n"), on); err == nil {
		t.Error("no error for a size that is none")
	}
}

// TestSwapLimit: none is 0, no limit is max, and a kernel without swap has no
// such file.
func TestSwapLimit(t *testing.T) {
	for _, tt := range []struct {
		bytes int64
		want  string
	}{{NoSwap, "0"}, {1 << 20, "1048576"}, {0, "max"}} {
		g := fakeGroup(t, []string{"memory"}, map[string]string{"memory.swap.max": ""})
		if err := g.Apply(Change{MemorySwap: &tt.bytes}); err != nil {
			t.Fatal(err)
		}
		if got := contents(t, g, "memory.swap.max")["memory.swap.max"]; got != tt.want {
			t.Errorf("%d: memory.swap.max is %q, want %q", tt.bytes, got, tt.want)
		}
	}
	without := fakeGroup(t, []string{"memory"}, nil)
	if err := without.Apply(Change{MemorySwap: new(int64(-2))}); err == nil {
		t.Error("less than none")
	}
	if err := without.Apply(Change{MemorySwap: new(int64(NoSwap))}); err != nil {
		t.Errorf("a kernel without swap: %v", err)
	}
	if err := without.parent.Open("gone").Apply(Change{MemorySwap: new(int64(NoSwap))}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a cgroup that is gone: %v", err)
	}
}

func TestParseIOMax(t *testing.T) {
	text := "8:0 rbps=max wbps=1048576 riops=max wiops=50\n253:16 rbps=9 wbps=max riops=max wiops=max\nrubbish\n\n"
	want := map[Disk]Rates{{8, 0}: {0, 1 << 20, 0, 50}, {253, 16}: {9, 0, 0, 0}}
	if d := cmp.Diff(want, ParseIOMax(text)); d != "" {
		t.Error(d)
	}
	used := IOUsage{Disks: []DiskUsage{{Disk{8, 0}, Rates{1, 2, 3, 4}}}}
	if got := used.Of(Disk{8, 0}); got != (Rates{1, 2, 3, 4}) {
		t.Errorf("%v", got)
	}
	if got := used.Of(Disk{8, 16}); got != (Rates{}) {
		t.Errorf("of a disk that was not touched: %v", got)
	}
}
