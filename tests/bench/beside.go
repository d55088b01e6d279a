package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	records "github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/runtime/demo/stage"
	"github.com/fcnode/fcnode/runtime/spec"
)

const (
	besideSites  = 200
	besideGoal   = 256 << 10
	besideWithin = 10 * time.Minute
	// besideSettle is after how long a monitor has given back what it needed when its container began.
	besideSettle = 3 * time.Second
	kernelStack  = 16 << 10 // of a thread, on x86-64
)

// besideResult is what stands beside frozen replicas, each a monitor's.
type besideResult struct {
	anon, pss, tables, stacks, all []uint64 // bytes
	threads                        int      // the most of any
}

// benchBeside has many sites sleep frozen and looks at what stands beside each.
func benchBeside(ctx context.Context, o options, r *report) (err error) {
	s, err := open(ctx, o, "beside", "")
	if err != nil {
		return err
	}
	defer func() { err = done(s, err) }()
	if err := freezeMany(ctx, s, o); err != nil {
		return err
	}
	time.Sleep(besideSettle)
	pids, err := monitors(s)
	if err != nil {
		return err
	}
	if len(pids) != besideSites {
		return fmt.Errorf("%d monitors of %d sites", len(pids), besideSites)
	}
	var res besideResult
	for _, pid := range pids {
		if err := res.add(pid); err != nil {
			return fmt.Errorf("monitor %d: %w", pid, err)
		}
	}
	res.report(r)
	return nil
}

// freezeMany deploys the sites, wakes each and waits until all of them are frozen.
func freezeMany(ctx context.Context, s *stage.Stage, o options) error {
	ctx, cancel := context.WithTimeout(ctx, besideWithin)
	defer cancel()
	if _, err := deploy(ctx, s, filepath.Join(o.bin, demoSite)); err != nil { // its image is everybody's
		return err
	}
	var text strings.Builder
	for i := range besideSites {
		fmt.Fprintf(&text, "---\n{name: frozen-%03d, image: %q, command: [/site], ports: [80/tcp], tiers: [{tier: frozen, after: 5s}]}\n", i, "dir:"+s.File("root-hello"))
	}
	sites, err := spec.Parse("beside", strings.NewReader(text.String()))
	if err != nil {
		return err
	}
	applied, err := s.API.Apply(ctx, sites, false)
	if err != nil {
		return err
	}
	for _, site := range applied {
		if _, err := s.API.Wake(ctx, site.Name); err != nil {
			return fmt.Errorf("wake %s: %w", site.Name, err)
		}
	}
	for _, site := range applied {
		sl := &sleeper{site: site.Name, tier: api.TierFrozen}
		if err := sl.awaitSleep(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// monitors are the processes that the records of replicas name.
func monitors(s *stage.Stage) (pids []int, err error) {
	dirs, err := filepath.Glob(s.File("run/" + records.ReplicasDir + "/*"))
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		var state records.State
		if err := records.ReadFile(dir, records.StateFile, &state); err != nil {
			return nil, err
		}
		pids = append(pids, state.Shim.Pid)
	}
	return pids, nil
}

func (b *besideResult) add(pid int) error {
	memory, err := smaps(pid)
	if err != nil {
		return err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return err
	}
	var tables uint64
	var threads int
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "VmPTE":
			_, err = fmt.Sscan(value, &tables)
		case "Threads":
			_, err = fmt.Sscan(value, &threads)
		}
		if err != nil {
			return fmt.Errorf("%q: %w", line, err)
		}
	}
	tables <<= 10
	stacks := uint64(threads) * kernelStack
	b.anon = append(b.anon, memory["Anonymous"])
	b.pss = append(b.pss, memory["Pss"])
	b.tables = append(b.tables, tables)
	b.stacks = append(b.stacks, stacks)
	b.all = append(b.all, memory["Pss"]+tables+stacks)
	b.threads = max(b.threads, threads)
	return nil
}

func (b *besideResult) report(r *report) {
	r.printf("## Beside a frozen replica\n\n%d demo sites, woken and then frozen, each with a monitor (fcnode-monitor). Memory is the monitor's PSS "+
		"(its own, and its share of the program, which all map), page tables are all levels of them, and a thread has a stack of %d KiB in the kernel.\n\n",
		besideSites, kernelStack>>10)
	r.printf("| | median | most |\n|---|---|---|\n")
	for _, row := range []struct {
		what   string
		values []uint64
	}{
		{"anonymous memory", b.anon}, {"PSS", b.pss}, {"page tables", b.tables}, {"kernel stacks", b.stacks}, {"PSS, page tables and kernel stacks", b.all},
	} {
		slices.Sort(row.values)
		r.printf("| %s | %s | %s |\n", row.what, kib(row.values[len(row.values)/2]), kib(row.values[len(row.values)-1]))
	}
	most := b.all[len(b.all)-1]
	r.printf("| threads | | %d |\n\n", b.threads)
	r.goal("at most 256 KiB beside an awake or frozen replica", most <= besideGoal, kib(most))
	r.printf("\n")
}

func kib(n uint64) string { return fmt.Sprintf("%.0f KiB", float64(n)/(1<<10)) }
