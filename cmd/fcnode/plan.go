package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/detect/model"
	"github.com/fcnode/fcnode/detect/sleep"
	"github.com/fcnode/fcnode/runtime/spec"
)

const planLong = `Reckons what a service level takes, and what a node can promise. It touches nothing.

With --rate it says which idle time or lifetime gives a share of delayed
visitors, if they come independently of each other (real ones do not; see
docs/detection.md). With recorded requests, those of a FILE, or that the node has
recorded of a SITE or of all its sites, as "fcnode replay" takes them, it plays
fcnode's plans at several shares of late requests, and with --have under a budget
of memory. What the tiers cost a SITE is what the node has measured, unless
--memory or --start is given, and its service level is said. A node wakes no site
ahead of a visit; these plans do (docs/policy.md).`

func newPlan(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plan [FILE|SITE|--all]",
		Short: "Reckon what a service level takes, and what a node can promise",
		Long:  planLong,
		Example: `  fcnode plan --all --since 168h
  fcnode plan --all --have 48GiB
  fcnode plan blog --over 50ms
  fcnode plan --rate 10 --late 1%`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeRecorded(e),
	}
	flags := addClass(cmd)
	from := addRecorded(cmd)
	rate := cmd.Flags().Float64("rate", 0, "`VISITORS` an hour")
	have := cmd.Flags().String("have", "", "`SIZE` of memory for all sites")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		options, class, err := flags.read()
		switch {
		case err != nil:
			return err
		case *rate < 0 || (*rate > 0) == (len(args) > 0 || from.all):
			return errors.New("one of --rate, FILE, SITE and --all says who comes")
		case *rate > 0 && *have != "":
			return errors.New("--have needs a FILE, a SITE or --all")
		case *rate > 0:
			return planRate(e, sleep.Poisson{Rate: *rate / 3600, Start: flags.start}, class)
		}
		f, measured, err := from.read(cmd.Context(), e, args)
		if err != nil {
			return err
		}
		if measured != nil && !flags.given(cmd) {
			options = measured
		}
		if class = from.levelFor(cmd, class); from.level != nil {
			fmt.Fprintf(e.stdout, "The service level of %s is %s; that makes %s.\n", args[0], level(from.level), price(from.level))
		}
		if *have != "" {
			budget, err := spec.ParseBytes(*have)
			if err != nil {
				return fmt.Errorf("--have: %w", err)
			}
			return planBudget(e, f, options, class, budget)
		}
		return planCurve(e, f, options, class)
	}
	return cmd
}

// planRate is the closed forms.
func planRate(e *env, p sleep.Poisson, class sleep.Class) error {
	var t table
	t.row("DELAYED", "IDLE TIME", "MEAN WAIT", "AWAKE", "OR LIFETIME", "MEAN WAIT", "AWAKE")
	shares := []float64{0.1, 0.05, 0.02, 0.01, 0.005, 0.001}
	if class.Late > 0 {
		shares = append([]float64{class.Late}, shares...)
	}
	for i, share := range shares {
		if i > 0 && share == class.Late {
			continue
		}
		idle, life := p.IdleFor(share), p.LifetimeFor(share)
		a, b := p.Idle(idle), p.Lifetime(life)
		t.row(fmt.Sprintf("%.3g%%", 100*share), idle.Round(time.Second).String(), a.Wait.Round(10*time.Microsecond).String(), fmt.Sprintf("%.1f%%", 100*a.Up),
			life.Round(time.Second).String(), b.Wait.Round(10*time.Microsecond).String(), fmt.Sprintf("%.1f%%", 100*b.Up))
	}
	return t.print(e.stdout)
}

// planCurve is what each share of late requests takes.
func planCurve(e *env, f *model.Fleet, options []sleep.Option, class sleep.Class) error {
	var out []replayed
	for _, share := range []float64{0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001} {
		rule := model.NewPlanned(options, sleep.DefaultPrices, share, f.Sites)
		r := model.PlayNights(model.NightConfig{Options: options, Over: class.Over}, f, rule)
		out = append(out, newReplayed(fmt.Sprintf("late %.3g%%", 100*share), f, r))
	}
	return printReplayed(e.stdout, f, class, out)
}

// planBudget is what can be promised within a budget.
func planBudget(e *env, f *model.Fleet, options []sleep.Option, class sleep.Class, budget spec.Bytes) error {
	limit := float64(budget) / float64(spec.GiB)
	if limit*float64(spec.GiB) < options[0].Memory {
		return fmt.Errorf("--have %s: not even one site of %s runs in that", budget, size(int64(options[0].Memory)))
	}
	r := model.PlayBudget(model.NightConfig{Options: options, Over: class.Over}, f, model.NewPlannedKeeper(options, sleep.DefaultPrices, f.Sites), limit)
	var t table
	t.row("budget", budget.String()+", at most "+size(int64(r.Peak*float64(spec.GiB)))+" in use")
	t.row("over "+class.Over.String(), fmt.Sprintf("%.3g%% of the requests", 100*r.Late/max(1, r.Requests)))
	t.row("mean wait", fmt.Sprintf("%.2f ms", 1e3*r.MeanWait()))
	t.row("evictions", fmt.Sprint(r.Evicted))
	t.row("wakes that waited for memory", fmt.Sprint(r.Queued))
	return t.print(e.stdout)
}
