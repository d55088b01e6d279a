package cgroup

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const procCgroups = `#subsys_name	hierarchy	num_cgroups	enabled
cpuset	3	1	1
cpu	1	1	1
memory	4	13	0
blkio	0	1	1
`

func TestLacks(t *testing.T) {
	legacy := parseProcCgroups(procCgroups)
	got := lacks([]string{"hugetlb"}, legacy)
	want := map[string]string{
		"cpu": "in use by cgroup v1", "memory": "cgroup_disable=memory", "pids": "has no pids controller", "io": "does not offer the io", "cpuset": "in use by cgroup v1",
	}
	if len(got) != len(want) {
		t.Fatalf("lacks %v, want %d", got, len(want))
	}
	for _, l := range got {
		if !strings.Contains(l.Why, want[l.Controller]) || l.Remedy == "" || l.Limits == "" {
			t.Errorf("%s: %s", l.Controller, l)
		}
	}
	if got := lacks([]string{"cpu", "memory", "pids", "io", "cpuset"}, legacy); len(got) != 0 {
		t.Errorf("lacks %v of a machine that has all", got)
	}
}

func TestDetectWithoutCgroup2(t *testing.T) {
	dir := t.TempDir()
	table := filepath.Join(dir, "cgroups")
	if err := os.WriteFile(table, []byte(procCgroups), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := detect(dir, table)
	if err != nil || h.Unified || len(h.Lacks) != len(wanted) || h.Has("cpu") {
		t.Errorf("%+v %v", h, err)
	}
	if _, err := detect(filepath.Join(dir, "none"), table); err == nil {
		t.Error("no error for a mount point that does not exist")
	}
	if h, err = detect(dir, filepath.Join(dir, "none")); err != nil || len(h.Lacks) != len(wanted) {
		t.Errorf("a kernel without cgroup v1: %+v %v", h, err)
	}
}

func TestLimitsValidate(t *testing.T) {
	if err := (Limits{}).Validate(); err != nil {
		t.Error(err)
	}
	bad := Limits{
		CPU: 0.001, CPUWeight: 20_000, Pids: -1, MemoryMax: 1 << 63, CPUSet: "all",
		IO: []IOLimit{{Device: "sda"}, {Device: "/srv"}, {Device: "/srv"}},
	}
	err := bad.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, word := range []string{"cpu limit", "cpu weight", "processes", "memory max", `"all"`, `"sda"`, "/srv"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q is not named in %q", word, err)
		}
	}
}

// TestLimitsWrites: what is written at a start and for an update.
func TestLimitsWrites(t *testing.T) {
	got := Limits{CPU: 0.25, MemoryMax: 1 << 20}.writes(false)
	want := []write{{"cpu", "cpu.max", "25000 100000"}, {"memory", "memory.max", "1048576"}}
	if !slices.Equal(got, want) {
		t.Errorf("at a start %v, want %v", got, want)
	}
	got = Limits{Pids: 5}.writes(true)
	want = []write{
		{"cpu", "cpu.max", "max 100000"}, {"cpu", "cpu.weight", "100"}, {"cpuset", "cpuset.cpus", processors()},
		{"memory", "memory.low", "0"}, {"memory", "memory.high", "max"}, {"memory", "memory.max", "max"}, {"memory", "memory.swap.max", "max"}, {"pids", "pids.max", "5"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("for an update %v, want %v", got, want)
	}
	p := &Parent{has: []string{"pids"}}
	l := Limits{CPU: 1, MemoryHigh: 1, Pids: 5, CPUSet: "0", IO: []IOLimit{{Device: "/"}}}
	if got := p.Unlimited(l); !slices.Equal(got, []string{"cpu", "memory", "io", "cpuset"}) {
		t.Errorf("unlimited %v", got)
	}
}
