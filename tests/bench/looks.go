package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/demo/stage"
	"github.com/fcnode/fcnode/runtime/spec"
)

// Of the sites that the node knows so many run, and are triggered in turns.
const (
	lookSites  = 1000
	lookAwake  = 50
	lookRounds = 4 // of each, if there are that many runs
	lookBound  = 10 * time.Millisecond
	lookSpec   = `env: {WORKERS: "4", WAIT: 20ms}, idle: never, limits: {cpu: {min: 0.25, max: 2}}, scale: {max: 2, target: {conns: 4}}`
	// The limits of these sites are raised, where they can be. The budget is more than all want together, so it bounds nobody.
	tightSites  = 20
	tightSpec   = `env: {WORKERS: "4", WAIT: 0s}, idle: never, limits: {cpu: {min: 0.25, max: 2}}, scale: {target: {latency: 50ms}}`
	tightCPU    = 0.3 // an idle one has no more than that in the end
	tightBudget = "budget: {cpu: 1024}\n"
)

// burning uses more than an idle site's share of a processor.
var burning = []byte("GET /burn?for=50ms HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")

// lookSteps are what lies between the kernel's event and the action, in order.
var lookSteps = []struct{ field, what string }{
	{"read", "the daemon has read it"},
	{"begun", "the look begins"},
	{"locked", "nobody else is busy with the site"},
	{"counted", "its counters are read"},
}

// actions are decisions of a kind, with when each step was since the kernel's event.
type actions struct {
	done  series
	steps map[string]series
}

// add takes over the decisions of a kind from the events of a site; trigger is a part of what the kernel has told.
func (a *actions) add(ctx context.Context, s *stage.Stage, name, kind, trigger string) error {
	if a.steps == nil {
		a.steps = map[string]series{}
	}
	for ev, err := range s.API.Events(ctx, api.EventOptions{Site: name}) {
		if err != nil {
			return err
		}
		ns, ok := ev.Fields["delayNs"].(float64)
		what, _ := ev.Fields["trigger"].(string)
		if !ok || ev.Kind != kind || !strings.Contains(what, trigger) {
			continue
		}
		a.done = append(a.done, time.Duration(ns))
		way, _ := ev.Fields["wayNs"].(map[string]any)
		for step, at := range way {
			if ns, ok := at.(float64); ok {
				a.steps[step] = append(a.steps[step], time.Duration(ns))
			}
		}
	}
	return nil
}

func (a *actions) report(r *report, what string) {
	row := func(what string, v series) {
		r.printf("| %s | %d | %s | %s | %s |\n", what, len(v), show(v.median()), show(v.quantile(0.95)), show(v.quantile(0.99)))
	}
	for _, step := range lookSteps {
		if v := a.steps[step.field]; len(v) > 0 {
			row("… until "+step.what, v)
		}
	}
	row("**"+what+"**", a.done)
}

// benchLooks triggers the sites that run, one after the other, while the node knows many more, and shows how soon
// the kernel's events lead to actions: another replica, and where limits can be written, a higher limit.
func benchLooks(ctx context.Context, o options, r *report) (err error) {
	s, program, err := openWorkers(ctx, o, "looks", tightBudget)
	if err != nil {
		return err
	}
	defer func() { err = done(s, err) }()
	addrs, err := lookApply(ctx, s, program)
	if err != nil {
		return err
	}
	info, err := s.API.Info(ctx)
	if err != nil {
		return err
	}
	for i := range lookAwake + tightSites {
		if _, err := s.API.Wake(ctx, lookName(i)); err != nil {
			return err
		}
	}
	limited := slices.Contains(info.Cgroup.Controllers, "cpu")
	if limited {
		if err := burnAll(ctx, s, addrs); err != nil {
			return err
		}
	}
	for round := range min(lookRounds, o.runs) {
		for i := range lookAwake {
			if err := scaleBursts(ctx, s, lookName(i), addrs[i], round+1); err != nil {
				return fmt.Errorf("%s: %w", lookName(i), err)
			}
		}
	}
	return reportLooks(ctx, s, r, limited)
}

// lookName names the sites: first those that are scaled out, then those whose limits are watched, then the others.
func lookName(i int) string { return fmt.Sprintf("look-%04d", i) }

// lookApply makes the sites.
func lookApply(ctx context.Context, s *stage.Stage, program string) ([]netip.AddrPort, error) {
	root := s.File("root-look")
	raw, err := os.ReadFile(program)
	if err == nil {
		err = errors.Join(os.MkdirAll(root, 0o755), os.WriteFile(root+"/site", raw, 0o755))
	}
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	for i := range lookSites {
		kind := lookSpec
		if i >= lookAwake && i < lookAwake+tightSites {
			kind = tightSpec
		}
		fmt.Fprintf(&text, "---\n{name: %s, image: %q, command: [/site], ports: [80/tcp], %s}\n", lookName(i), "dir:"+root, kind)
	}
	sites, err := spec.Parse("looks", strings.NewReader(text.String()))
	if err != nil {
		return nil, err
	}
	results, err := s.API.Apply(ctx, sites, false)
	if err != nil {
		return nil, err
	}
	addrs := make([]netip.AddrPort, len(results))
	for i, res := range results {
		addrs[i] = netip.AddrPortFrom(res.Addresses[0], 80)
	}
	return addrs, nil
}

// burnAll waits until the sites have given back the processors that nobody wants of them, and has each use
// more, in turns, until it is given them again.
func burnAll(ctx context.Context, s *stage.Stage, addrs []netip.AddrPort) error {
	for i := lookAwake; i < lookAwake+tightSites; i++ {
		if err := awaitLimit(ctx, s, lookName(i), func(cores float64) bool { return cores <= tightCPU }); err != nil {
			return fmt.Errorf("%s, idle: %w", lookName(i), err)
		}
	}
	for i := lookAwake; i < lookAwake+tightSites; i++ {
		if err := burnOne(ctx, s, lookName(i), addrs[i]); err != nil {
			return fmt.Errorf("%s, busy: %w", lookName(i), err)
		}
	}
	return nil
}

// burnOne has two visitors come again and again until the site has more.
func burnOne(ctx context.Context, s *stage.Stage, name string, addr netip.AddrPort) error {
	visiting, stop := context.WithCancel(ctx)
	var visitors sync.WaitGroup
	var failed [2]error
	for i := range failed {
		c, err := newClient(s.Client.FD())
		if err != nil {
			stop()
			visitors.Wait()
			return err
		}
		visitors.Go(func() {
			defer c.close()
			for visiting.Err() == nil && failed[i] == nil {
				_, failed[i] = c.ask(question{addr, burning})
			}
		})
	}
	err := awaitLimit(ctx, s, name, func(cores float64) bool { return cores > tightCPU })
	stop()
	visitors.Wait()
	return errors.Join(err, failed[0], failed[1])
}

// awaitLimit waits until a site's limit of processors is as wanted.
func awaitLimit(ctx context.Context, s *stage.Stage, name string, wanted func(cores float64) bool) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for {
		v, err := s.API.Get(ctx, name)
		if err != nil {
			return fmt.Errorf("wait for its limit: %w", err)
		}
		if v.Limits.CPU != nil && wanted(v.Limits.CPU.Now) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func reportLooks(ctx context.Context, s *stage.Stage, r *report, limited bool) error {
	var out, slow, pressed actions
	for i := range lookAwake + tightSites {
		err := errors.Join(out.add(ctx, s, lookName(i), "scaled-out", ""),
			slow.add(ctx, s, lookName(i), "scaled-up", "latency"), pressed.add(ctx, s, lookName(i), "scaled-up", "pressure"))
		if err != nil {
			return err
		}
	}
	r.printf("## From the kernel's event to the action\n\n%d sites on the node, %d of them running and looked at; %d of these get %d connections at once, of a target "+
		"of 4, one after the other. Times are since the kernel's event.\n\n| | measured | median | p95 | p99 |\n|---|---|---|---|---|\n", lookSites, lookAwake+tightSites, lookAwake, scaleBurst)
	out.report(r, "the decision to scale out")
	bound := func(what string, v series) {
		r.goal(what+" within 10 ms at p99", v.quantile(0.99) <= lookBound, show(v.quantile(0.99)))
	}
	if !limited {
		r.printf("\nThis machine has no cpu controller in cgroup v2, so no limit is written here: the decision is taken, and the write is missing (a write of " +
			"`cpu.max` is measured by `go test -bench Thousand ./runtime/cgroup` where there is one).\n\n")
		bound("an event leads to a decision", out.done)
		r.printf("\n")
		return nil
	}
	r.printf("\nThe others that run have a quarter of a processor, and are asked by two visitors each for pages that take 50 ms of one. The kernel's event is that answers have become slow, or that " +
		"the site has waited for a processor for 200 ms of a second (PSI; told by poll(), from which on it is timed).\n\n" +
		"| | measured | median | p95 | p99 |\n|---|---|---|---|---|\n")
	if len(slow.done) > 0 {
		slow.report(r, "slow answers: `cpu.max` is written")
	}
	if len(pressed.done) > 0 {
		pressed.report(r, "pressure: `cpu.max` is written")
	}
	r.printf("\n")
	bound("an event leads to a decision", out.done)
	bound("an event leads to a written limit", append(slices.Clone(slow.done), pressed.done...))
	r.printf("\n")
	return nil
}
