//go:build linux

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
		"cpu": "in use by cgroup v1", "memory": "cgroup_disable=memory", "pids": "has no pids controller", "io": "does not offer the io",
	}
	if len(got) != len(want) {
		t.Fatalf("lacks %v, want %d", got, len(want))
	}
	for _, l := range got {
		if !strings.Contains(l.Why, want[l.Controller]) || l.Remedy == "" || l.Limits == "" {
			t.Errorf("%s: %s", l.Controller, l)
		}
	}
	if got := lacks([]string{"cpu", "memory", "pids", "io"}, legacy); len(got) != 0 {
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
	if err != nil || h.Unified || len(h.Lacks) != 4 || h.Has("cpu") {
		t.Errorf("%+v %v", h, err)
	}
	if _, err := detect(filepath.Join(dir, "none"), table); err == nil {
		t.Error("no error for a mount point that does not exist")
	}
	if h, err = detect(dir, filepath.Join(dir, "none")); err != nil || len(h.Lacks) != 4 {
		t.Errorf("a kernel without cgroup v1: %+v %v", h, err)
	}
}

func TestLimitsValidate(t *testing.T) {
	if err := (Limits{}).Validate(); err != nil {
		t.Error(err)
	}
	bad := Limits{CPU: 0.001, CPUWeight: 20_000, Pids: -1, MemoryMax: 1 << 63}
	err := bad.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, word := range []string{"cpu limit", "cpu weight", "processes", "memory max"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q is not named in %q", word, err)
		}
	}
}

// TestLimitsResources: what is written at a start and for an update, with and
// without controllers.
func TestLimitsResources(t *testing.T) {
	all := func(string) bool { return true }
	r := Limits{CPU: 0.25, MemoryMax: 1 << 20}.resources(all, false)
	if r.CPU == nil || r.CPU.Max != "25000 100000" || r.CPU.Weight != nil || r.Memory == nil || *r.Memory.Max != 1<<20 || r.Memory.High != nil || r.Pids != nil {
		t.Errorf("start: %+v %+v %+v", r.CPU, r.Memory, r.Pids)
	}
	r = Limits{Pids: 5}.resources(all, true)
	if r.CPU == nil || r.CPU.Max != "max 100000" || *r.CPU.Weight != 100 || *r.Memory.Low != 0 || r.Pids.Max != 5 {
		t.Errorf("update: %+v %+v %+v", r.CPU, r.Memory, r.Pids)
	}
	pidsOnly := func(c string) bool { return c == "pids" }
	r = Limits{CPU: 1, MemoryMax: 1, Pids: 5}.resources(pidsOnly, true)
	if r.CPU != nil || r.Memory != nil || r.Pids == nil {
		t.Errorf("only pids: %+v", r)
	}
	p := &Parent{has: []string{"pids"}}
	if got := p.Unlimited(Limits{CPU: 1, MemoryHigh: 1, Pids: 5}); !slices.Equal(got, []string{"cpu", "memory"}) {
		t.Errorf("unlimited %v", got)
	}
}
