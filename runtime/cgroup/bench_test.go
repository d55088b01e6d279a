//go:build linux

package cgroup

import (
	"fmt"
	"testing"

	"github.com/fcnode/fcnode/tests/testutil"
)

// BenchmarkRootThousand measures what the limits of a thousand replicas cost:
//
//	FCNODE_ROOT_TESTS=1 go test -run '^$' -bench RootThousand ./runtime/cgroup
//
// An operation is one change or one reading of one of them. What needs a
// controller that is absent is left out.
func BenchmarkRootThousand(b *testing.B) {
	testutil.Privileged(b)
	p, err := OpenParent("/" + testutil.Unique(b))
	if err != nil {
		b.Fatal(err)
	}
	groups := make([]*Group, 1000)
	for i := range groups {
		if groups[i], err = p.Create(fmt.Sprintf("r-%d", i)); err != nil {
			b.Fatal(err)
		}
	}
	b.Cleanup(func() {
		for _, g := range groups {
			_ = g.Remove() // the parent's tells
		}
		if err := p.Remove(); err != nil {
			b.Error(err)
		}
	})
	each := func(name, controller string, do func(g *Group, i int) error) {
		if controller != "" && !p.Has(controller) {
			b.Logf("%s: no %s controller", name, controller)
			return
		}
		b.Run(name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if err := do(groups[i%len(groups)], i/len(groups)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	each("cpu.max", "cpu", func(g *Group, i int) error { return g.Apply(Change{CPU: new(1 + float64(i%2))}) })
	each("cpu.weight", "cpu", func(g *Group, i int) error { return g.Apply(Change{CPUWeight: new(uint64(100 + i%2))}) })
	each("memory.high", "memory", func(g *Group, i int) error { return g.Apply(Change{MemoryHigh: new(uint64(64+i%2) << 20)}) })
	each("memory.max", "memory", func(g *Group, i int) error { return g.Apply(Change{MemoryMax: new(uint64(64+i%2) << 20)}) })
	each("pids.max", "pids", func(g *Group, i int) error { return g.Apply(Change{Pids: new(int64(64 + i%2))}) })
	each("cpuset.cpus", "cpuset", func(g *Group, i int) error { return g.Apply(Change{CPUSet: new([]string{"0", ""}[i%2])}) })
	each("io.max", "io", func(g *Group, i int) error {
		return g.Apply(Change{IO: []IOLimit{{Device: "/", ReadBytes: uint64(1+i%2) << 20}}})
	})
	each("usage", "", func(g *Group, _ int) error { _, err := g.Usage(); return err })
	each("freeze and thaw", "", func(g *Group, _ int) error {
		if err := g.Freeze(b.Context()); err != nil {
			return err
		}
		return g.Thaw(b.Context())
	})
}
