package cgroup

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/fcnode/fcnode/tests/testutil"
)

// costs are what the node does with limits of one of many replicas. do gets the
// number of the round, so that each write changes something.
var costs = []struct {
	name, controller string
	do               func(ctx context.Context, g *Group, round int) error
}{
	{"cpu.max", "cpu", func(_ context.Context, g *Group, i int) error { return g.Apply(Change{CPU: new(1 + float64(i%2))}) }},
	{"cpu.weight", "cpu", func(_ context.Context, g *Group, i int) error {
		return g.Apply(Change{CPUWeight: new(uint64(100 + i%2))})
	}},
	{"memory.low", "memory", func(_ context.Context, g *Group, i int) error {
		return g.Apply(Change{MemoryLow: new(uint64(16+i%2) << 20)})
	}},
	{"memory.high", "memory", func(_ context.Context, g *Group, i int) error {
		return g.Apply(Change{MemoryHigh: new(uint64(64+i%2) << 20)})
	}},
	{"memory.max", "memory", func(_ context.Context, g *Group, i int) error {
		return g.Apply(Change{MemoryMax: new(uint64(64+i%2) << 20)})
	}},
	{"pids.max", "pids", func(_ context.Context, g *Group, i int) error { return g.Apply(Change{Pids: new(int64(64 + i%2))}) }},
	{"cpuset.cpus", "cpuset", func(_ context.Context, g *Group, i int) error {
		return g.Apply(Change{CPUSet: new([]string{"0", ""}[i%2])})
	}},
	{"io.max", "io", func(_ context.Context, g *Group, i int) error {
		return g.Apply(Change{IO: []IOLimit{{Device: "/", ReadBytes: uint64(1+i%2) << 20}}})
	}},
	{"usage", "", func(_ context.Context, g *Group, _ int) error { _, err := g.Usage(); return err }},
	{"freeze and thaw", "", func(ctx context.Context, g *Group, _ int) error {
		if err := g.Freeze(ctx); err != nil {
			return err
		}
		return g.Thaw(ctx)
	}},
}

// thousand makes that many groups.
func thousand(tb testing.TB) (*Parent, []*Group) {
	tb.Helper()
	testutil.Privileged(tb)
	p, err := OpenParent("/" + testutil.Unique(tb))
	if err != nil {
		tb.Fatal(err)
	}
	groups := make([]*Group, 1000)
	tb.Cleanup(func() {
		for _, g := range groups {
			if g != nil {
				_ = g.Remove() // the parent's tells
			}
		}
		if err := p.Remove(); err != nil {
			tb.Error(err)
		}
	})
	for i := range groups {
		if groups[i], err = p.Create(fmt.Sprintf("r-%d", i)); err != nil {
			tb.Fatal(err)
		}
	}
	return p, groups
}

// TestRootThousandGroups changes each limit of a thousand groups, one write for
// each, and logs what one costs.
func TestRootThousandGroups(t *testing.T) {
	p, groups := thousand(t)
	ctx := testutil.Context(t, 10*limit)
	for _, c := range costs {
		if c.controller != "" && !p.Has(c.controller) {
			t.Logf("%-16s not measured: no %s controller in cgroup v2 here", c.name, c.controller)
			continue
		}
		begin := time.Now()
		for _, g := range groups {
			if err := c.do(ctx, g, 0); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%-16s %8.1f µs", c.name, float64(time.Since(begin).Microseconds())/float64(len(groups)))
	}
}

// BenchmarkRootThousand is the same by the benchmark's rules:
//
//	FCNODE_ROOT_TESTS=1 go test -run '^$' -bench RootThousand ./runtime/cgroup
func BenchmarkRootThousand(b *testing.B) {
	p, groups := thousand(b)
	for _, c := range costs {
		if c.controller != "" && !p.Has(c.controller) {
			b.Logf("%s: no %s controller in cgroup v2 here", c.name, c.controller)
			continue
		}
		b.Run(c.name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if err := c.do(b.Context(), groups[i%len(groups)], i/len(groups)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
