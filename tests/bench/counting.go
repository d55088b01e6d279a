package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/demo/stage"
)

// countingBound is the share of the requests/s that counting may cost.
const countingBound = 0.03

// What is looked for is smaller than what else the machine does takes and gives from one second to the next: many short rounds.
const (
	countingRounds = 60
	countingWarm   = 50 * time.Millisecond
	countingTime   = 250 * time.Millisecond
)

// benchCounting takes the programs that count requests, bytes and latencies off the replicas' cgroup and puts them back, in turns, under load.
func benchCounting(ctx context.Context, o options, r *report) error {
	r.printf("## What counting costs\n\nThe load of [steady load](#steady-load) on the application in its container, through its VIP, with the programs that count each "+
		"replica's bytes, turns and latencies attached, as always, and without them: %d rounds of %s each, in turns. Ratios are medians of the rounds' ratios.\n\n"+
		"| application | connections | requests/s, counted | requests/s, not counted | counted ÷ not counted | CPU a request, counted ÷ not counted |\n|---|---|---|---|---|---|\n",
		countingRounds, countingTime+countingWarm)
	worst := 1.0
	for _, app := range []application{
		{name: demoSite, what: "the demo site (Go's net/http)"},
		{name: "lean", what: "the lean server"},
	} {
		kept, err := countingApplication(ctx, o, r, app)
		if err != nil {
			return fmt.Errorf("%s: %w", app.name, err)
		}
		worst = min(worst, kept)
	}
	r.printf("\n")
	r.goal(fmt.Sprintf("counting takes at most %.0f %% of the requests/s", 100*countingBound), worst >= 1-countingBound,
		fmt.Sprintf("%.1f %% in the worst row", 100*(1-worst)))
	r.printf("\n")
	return nil
}

// countingApplication gives the smallest share of the requests/s that are kept when they are counted.
func countingApplication(ctx context.Context, o options, r *report, app application) (worst float64, err error) {
	s, err := open(ctx, o, "counting-"+app.name, "")
	if err != nil {
		return 0, err
	}
	defer func() { err = done(s, err) }()
	program, err := app.program(ctx, s, o)
	if err != nil {
		return 0, err
	}
	vip, err := deploy(ctx, s, program)
	if err != nil {
		return 0, err
	}
	c, err := newClient(s.Client.FD())
	if err != nil {
		return 0, err
	}
	defer c.close()
	if _, err := c.visit(vip); err != nil { // it wakes
		return 0, err
	}
	site, err := s.API.Get(ctx, "hello")
	if err != nil {
		return 0, err
	}
	if len(site.Replicas) != 1 {
		return 0, fmt.Errorf("the site has %d replicas, not one", len(site.Replicas))
	}
	pid := site.Replicas[0].PID
	counters, err := takeCounters(s, pid)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, counters.close()) }()
	worst = 1
	for _, reuse := range []bool{true, false} {
		kept, err := loadInTurns(ctx, s, r, counters, vip, pid, app.what, reuse)
		if err != nil {
			return 0, err
		}
		worst = min(worst, kept)
	}
	return worst, nil
}

// loadInTurns loads the application with and without the counters; each round begins with the other.
func loadInTurns(
	ctx context.Context, s *stage.Stage, r *report, counters *counters, vip netip.AddrPort, pid int, what string, reuse bool,
) (kept float64, err error) {
	l := load{
		netns: s.Client.FD(), target: vip, conns: steadyConns, reuse: reuse,
		request: requestFor("bench", steadyBytes, reuse), warm: countingWarm, measure: countingTime,
	}
	var results [2]steadyResult
	for round := range countingRounds {
		for i := range results {
			counted := (round + i) % 2
			if err := counters.set(counted == 1); err != nil {
				return 0, err
			}
			got, cpu, err := loadAndCPU(ctx, l, []int{pid})
			if err != nil {
				return 0, err
			}
			to := &results[counted]
			to.rate, to.cpu = append(to.rate, got.rate()), append(to.cpu, cpu)
		}
	}
	connections := "kept alive"
	if !reuse {
		connections = "one for each request"
	}
	without, with := results[0], results[1]
	kept = medianOf(ratios(with.rate, without.rate))
	r.printf("| %s | %s | %.0f | %.0f | %.3f | %.3f |\n", what, connections, medianOf(with.rate), medianOf(without.rate), kept,
		medianOf(ratios(with.cpu.floats(), without.cpu.floats())))
	return kept, nil
}

// counters are the programs that count, in the hands of the bench.
type counters struct {
	cgroup *os.File // its folder
	hooks  []hook
}

type hook struct {
	at   ebpf.AttachType
	prog *ebpf.Program
	on   link.Link // nil: it is off
}

// takeCounters takes the node's links to the counting programs away: from then on the bench attaches them.
func takeCounters(s *stage.Stage, pid int) (*counters, error) {
	c := &counters{}
	for _, h := range []struct {
		pin string
		at  ebpf.AttachType
	}{
		{"cgroup-ingress", ebpf.AttachCGroupInetIngress},
		{"cgroup-egress", ebpf.AttachCGroupInetEgress},
	} {
		if err := c.take(s.File(filepath.Join("bpf", "fcnode", "links", h.pin)), h.at, s, pid); err != nil {
			return nil, errors.Join(fmt.Errorf("take the counting programs: %w", err), c.close())
		}
	}
	return c, nil
}

func (c *counters) take(pin string, at ebpf.AttachType, s *stage.Stage, pid int) error {
	l, err := link.LoadPinnedLink(pin, nil)
	if err != nil {
		return err
	}
	defer l.Close() // the last one: with its pin the link ends
	info, err := l.Info()
	if err != nil {
		return err
	}
	on := info.Cgroup()
	if on == nil {
		return fmt.Errorf("%s is no link to a cgroup", pin)
	}
	if c.cgroup == nil {
		if c.cgroup, err = cgroupAbove(s.File("cgroup2"), pid, on.CgroupId); err != nil {
			return err
		}
	}
	prog, err := ebpf.NewProgramFromID(info.Program)
	if err != nil {
		return err
	}
	c.hooks = append(c.hooks, hook{at: at, prog: prog})
	return l.Unpin()
}

// cgroupAbove opens the cgroup of that number, which is one of those that a process is in, by a cgroup2 that is mounted at dir meanwhile.
func cgroupAbove(dir string, pid int, id uint64) (cgroup *os.File, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	if err := unix.Mount("cgroup2", dir, "cgroup2", 0, ""); err != nil {
		return nil, fmt.Errorf("mount cgroup2 on %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, unix.Unmount(dir, unix.MNT_DETACH)) }()
	for line := range strings.Lines(string(text)) {
		below, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		for path := filepath.Join(dir, below); strings.HasPrefix(path, dir); path = filepath.Dir(path) {
			var st unix.Stat_t
			if err := unix.Stat(path, &st); err == nil && st.Ino == id { // the number of a cgroup is its folder's
				return os.Open(path)
			}
		}
	}
	return nil, fmt.Errorf("process %d is in no cgroup with the number %d", pid, id)
}

// set attaches the programs or takes them off. The kernel has done so when it returns.
func (c *counters) set(on bool) (err error) {
	for i := range c.hooks {
		h := &c.hooks[i]
		switch {
		case on && h.on == nil:
			h.on, err = link.AttachCgroup(link.CgroupOptions{Path: fmt.Sprintf("/proc/self/fd/%d", c.cgroup.Fd()), Attach: h.at, Program: h.prog})
		case !on && h.on != nil:
			err = h.on.Close()
			h.on = nil
		}
		if err != nil {
			return fmt.Errorf("switch counting: %w", err)
		}
	}
	return nil
}

func (c *counters) close() error {
	err := c.set(false)
	if c.cgroup != nil {
		err = errors.Join(err, c.cgroup.Close())
	}
	for _, h := range c.hooks {
		err = errors.Join(err, h.prog.Close())
	}
	return err
}
