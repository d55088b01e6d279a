package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/demo/stage"
)

// tierIdle is the shortest idle time that a spec may have.
const tierIdle = time.Second

// sleeper is a site that sleeps on one tier, and what its wakes gave.
type sleeper struct {
	site     string
	tier     api.Tier
	ask      question
	uncached bool   // nothing of it is in the page cache when it is woken
	wake     series // to the first byte
	running  series // the same request to the running site
	exec     series // held packet to exec, where there is an exec
	beyond   series // wake, less the running site's median of the same round
	unusable string // why it is not measured
}

// benchTiers wakes the demo site from each tier, in turns.
func benchTiers(ctx context.Context, o options, r *report) (err error) {
	s, err := open(ctx, o, "tiers", "")
	if err != nil {
		return err
	}
	defer func() { err = done(s, err) }()
	c, err := newClient(s.Client.FD())
	if err != nil {
		return err
	}
	defer c.close()
	all, err := deploySleepers(ctx, s, c, o)
	if err != nil {
		return err
	}
	for round := range o.runs + 2 {
		for _, sl := range all {
			if sl.unusable != "" {
				continue
			}
			if err := sl.once(ctx, s, c, round >= 2); err != nil { // the first two warm the caches
				return fmt.Errorf("%s: %w", sl.tier, err)
			}
		}
	}
	reportTiers(r, all)
	return nil
}

func deploySleepers(ctx context.Context, s *stage.Stage, c *client, o options) ([]*sleeper, error) {
	var all []*sleeper
	for _, tier := range []api.Tier{api.TierFrozen, api.TierReclaimed, api.TierPrepared, api.TierCheckpointed, api.TierCold} {
		sl := &sleeper{site: "sleeper-" + string(tier), tier: tier}
		all = append(all, sl)
		var err error
		if sl.unusable, err = unusable(ctx, s, tier); err != nil {
			return nil, err
		}
		if sl.unusable != "" {
			continue
		}
		addr, err := deployWith(ctx, s, filepath.Join(o.bin, demoSite), sl.site,
			fmt.Sprintf("idle: %s, tiers: [%s], checkpoint: {warm: 1}", tierIdle, tier))
		if err != nil {
			return nil, err
		}
		sl.ask = question{addr, greeting}
		if _, err := c.ask(sl.ask); err != nil { // without a visitor it would not be warm
			return nil, err
		}
	}
	return all, nil
}

// unusable says why a tier is not to be had on this machine.
func unusable(ctx context.Context, s *stage.Stage, tier api.Tier) (why string, err error) {
	if tier == api.TierCheckpointed {
		if _, err := criu.Find(ctx, ""); err != nil {
			return err.Error(), nil //nolint:nilerr // it is the answer
		}
	}
	if tier != api.TierReclaimed {
		return "", nil
	}
	info, err := s.API.Info(ctx)
	if err != nil {
		return "", err
	}
	for _, u := range info.Cgroup.Unlimited {
		if u.Controller == "memory" {
			return "this machine has no memory controller of cgroup v2", nil
		}
	}
	return "", nil
}

// once wakes the site when it sleeps.
func (sl *sleeper) once(ctx context.Context, s *stage.Stage, c *client, counts bool) error {
	if err := sl.awaitSleep(ctx, s); err != nil {
		return err
	}
	return sl.rouse(ctx, s, c, counts)
}

// rouse wakes the sleeping site and asks it again while it runs.
func (sl *sleeper) rouse(ctx context.Context, s *stage.Stage, c *client, counts bool) error {
	time.Sleep(rest)
	first, err := c.ask(sl.ask)
	if err != nil {
		return err
	}
	var running series
	for range 5 {
		v, err := c.ask(sl.ask)
		if err != nil {
			return err
		}
		running = append(running, v.firstByte)
	}
	traces, err := s.API.Traces(ctx, sl.site, 1)
	if err != nil {
		return err
	}
	if len(traces) != 1 || traces[0].From != sl.tier {
		return fmt.Errorf("the wake was to be from %s, and is told as %+v", sl.tier, traces)
	}
	if !counts {
		return nil
	}
	sl.wake = append(sl.wake, first.firstByte)
	sl.running = append(sl.running, running...)
	sl.beyond = append(sl.beyond, first.firstByte-running.median())
	for _, step := range traces[0].Steps {
		if step.Name == api.StepStarted {
			sl.exec = append(sl.exec, step.At.Duration())
		}
	}
	return nil
}

// awaitSleep waits until the site is on its tier.
func (sl *sleeper) awaitSleep(ctx context.Context, s *stage.Stage) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		v, err := s.API.Get(ctx, sl.site)
		if err != nil {
			return fmt.Errorf("wait for it to sleep: %w", err)
		}
		if v.Tier == sl.tier && v.Phase == api.PhaseParked {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func reportTiers(r *report, all []*sleeper) {
	r.printf("## Wake by tier\n\nThe demo site, asleep on each tier, and the same request to it while it runs, in turns. " +
		"A wake is measured from before connect() to the first byte of the answer; what it adds is the wake less the median of the five requests after it.\n\n")
	r.printf("| from | min | median | p95 | running, median | added, median | packet to exec, median |\n|---|---|---|---|---|---|---|\n")
	for _, sl := range all {
		if sl.unusable != "" {
			r.printf("| %s | not measured: %s | | | | | |\n", sl.tier, sl.unusable)
			continue
		}
		exec := ""
		if len(sl.exec) > 0 {
			exec = show(sl.exec.median())
		}
		r.printf("| %s | %s | %s | %s | %s |\n", sl.tier, sl.wake.row(), show(sl.running.median()), show(sl.beyond.median()), exec)
	}
	r.printf("\n")
	reportRatios(r, all)
	for _, sl := range all {
		if sl.unusable != "" {
			continue
		}
		if what, limit, took := sl.goal(); what != "" {
			r.goal(what, took <= limit, show(took))
		}
	}
	r.printf("\n")
}

// reportRatios compares the wakes with the running site, and what they add with what the first and the last tier add.
func reportRatios(r *report, all []*sleeper) {
	usable := slices.DeleteFunc(slices.Clone(all), func(sl *sleeper) bool { return sl.unusable != "" })
	if len(usable) == 0 {
		return
	}
	shallow, deep := usable[0], usable[len(usable)-1]
	r.printf("| from | wake ÷ running request | added ÷ added from %s | added ÷ added from %s |\n|---|---|---|---|\n", shallow.tier, deep.tier)
	for _, sl := range usable {
		r.printf("| %s | %.1f | %.1f | %.2f |\n", sl.tier, ratio(sl.wake.median(), sl.running.median()),
			ratio(sl.beyond.median(), shallow.beyond.median()), ratio(sl.beyond.median(), deep.beyond.median()))
	}
	r.printf("\n")
}

// goal is what is promised of the tier, if anything.
func (sl *sleeper) goal() (what string, limit, took time.Duration) {
	if sl.tier == api.TierFrozen {
		return "a thaw adds at most 1 ms", time.Millisecond, sl.beyond.median()
	}
	if sl.tier == api.TierReclaimed {
		return "a reclaimed small application is at most 5 ms longer", 5 * time.Millisecond, sl.beyond.median()
	}
	if sl.tier == api.TierPrepared {
		return "at most 2 ms from the packet to exec", 2 * time.Millisecond, sl.exec.median()
	}
	return "", 0, 0
}
