package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/runtime/api"
)

const whyLong = `Says why a site sleeps where it does, or is awake: what is known of its visits,
what each tier would cost until the next one, who wakes it by the clock, and what
was decided last.

Costs are in GiB·s, a GiB of memory held for a second; a core is 4 of them a
second. What a second of a visitor's waiting is worth follows from the service
level (docs/policy.md).`

func newWhy(e *env) *cobra.Command {
	n := 8
	cmd := &cobra.Command{
		Use:               "why SITE",
		Short:             "Say why a site sleeps where it does, and what else would cost",
		Long:              whyLong,
		Example:           "  fcnode why blog\n  fcnode why blog -o json",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeSites(e, 1),
	}
	output := addOutput(cmd)
	cmd.Flags().IntVarP(&n, "last", "n", n, "show the last `N` decisions")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client := e.client()
		defer client.Close()
		why, err := client.Why(cmd.Context(), args[0], n)
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return printJSON(e.stdout, why)
		}
		return printWhy(e.stdout, &why, e.now())
	}
	return cmd
}

func printWhy(w io.Writer, why *api.Why, now time.Time) error {
	fmt.Fprintln(w, whyState(why, now))
	fmt.Fprintln(w, whyVisits(why))
	if why.Level != nil {
		fmt.Fprintf(w, "Its service level is %s; that makes %s.\n", level(why.Level), price(why.Level))
	}
	if a := why.Ahead; a != nil {
		until := "he comes"
		if a.Until > 0 {
			until = about(a.Until)
		}
		fmt.Fprintf(w, "It is woken ahead of the next visitor, and waits for him as %s, from %s after the last one until %s: that has paid for its last pauses.\n", a.Tier, about(a.After), until)
	}
	for _, f := range why.Follows {
		woken := "it is woken beside it"
		if !f.Woken {
			woken = "it is not woken beside it, as that does not pay, or has not yet"
		}
		fmt.Fprintf(w, "Visits to it follow %.0f of the last %.0f wakes of %s within %s, mostly after %s: %s.\n", f.Came, f.Wakes, f.Site, about(f.Within), about(f.Lag), woken)
	}
	if why.Circulation != nil {
		fmt.Fprintf(w, "It is circulated %s.\n", circulation(why.Circulation, now))
	}
	for _, line := range whyOthers(why) {
		fmt.Fprintln(w, line)
	}
	for _, c := range why.Callers {
		fmt.Fprintf(w, "%s: a monitor, a crawler or a job, by the look of it; `ignore: [%s]` in its spec has the node answer it without waking the site.\n", c.Text, c.Client)
	}
	if len(why.Alternatives) > 0 {
		fmt.Fprintln(w)
		if err := whyTable(why).print(w); err != nil {
			return err
		}
	}
	if len(why.Decisions) > 0 {
		fmt.Fprintln(w)
	}
	for i := range why.Decisions {
		fmt.Fprintln(w, eventLine(why.Decisions[i]))
	}
	return nil
}

// whyState is "blog is asleep as checkpointed since 09:12 (3h): idle 5m0s.".
func whyState(why *api.Why, now time.Time) string {
	text := why.Site + " is asleep as " + string(why.Tier)
	switch {
	case why.Phase == api.PhaseQuarantined:
		text = why.Site + " is quarantined"
	case why.Tier == api.TierRunning:
		text = why.Site + " is awake"
	}
	if !why.Since.IsZero() {
		text += " since " + why.Since.Local().Format(clockForm(now, why.Since)) + " (" + age(now.Sub(why.Since)) + ")"
	}
	for i := range why.Decisions {
		if d := &why.Decisions[i]; d.Kind != "ladder" {
			text += ": " + d.Story()
			break
		}
	}
	if why.Tier != api.TierRunning || why.Phase != api.PhaseRunning {
		return text + "."
	}
	if why.Idle == 0 {
		return text + ". Somebody is there."
	}
	return text + ". It has been idle for " + age(why.Idle.Duration()) + "."
}

// clockForm leaves out the day where it is today.
func clockForm(now, t time.Time) string {
	if now.Local().Format(time.DateOnly) == t.Local().Format(time.DateOnly) {
		return "15:04"
	}
	return "2006-01-02 15:04"
}

func whyVisits(why *api.Why) string {
	if why.Pauses == 0 {
		return "Nothing is known of the pauses between its visits yet; those of other sites stand in for them."
	}
	text := fmt.Sprintf("Visits come every %s (median of %s", about(why.Median), plural(why.Pauses, "pause"))
	if why.Long > why.Median {
		text += fmt.Sprintf("; nine in ten are over within %s", about(why.Long))
	}
	text += ")"
	if u := why.Usual; u != nil {
		text += fmt.Sprintf("; %.0f %% of the pauses last %s to %s, as of somebody who comes by the clock", 100*u.Share, about(u.From), about(u.To))
	}
	return text + "."
}

// whyOthers is a line for each tier on which the site is not: what it would have cost.
func whyOthers(why *api.Why) (out []string) {
	for _, a := range why.Alternatives {
		if a.Tier == why.Tier || a.Cost < 0 || a.Tier == api.TierRunning && why.Tier == api.TierRunning {
			continue
		}
		keep := "Keeping it " + string(a.Tier)
		if a.Tier == api.TierRunning {
			keep = "Keeping it awake"
		}
		held := "holds nothing"
		if a.Memory > 0 {
			held = fmt.Sprintf("holds %s for %s = %s GiB·s", size(a.Memory), about(why.Comes), three(a.Hold))
		}
		wait := "nobody waits"
		if a.Wait > 0 {
			wait = fmt.Sprintf("a visitor waits %s once", latency(a.Wait.Duration()))
		}
		out = append(out, fmt.Sprintf("%s %s, %s: %s GiB·s in all.", keep, held, wait, three(a.Cost)))
	}
	return out
}

func whyTable(why *api.Why) *table {
	var t table
	t.row("TIER", "AFTER", "MEMORY", "DISK", "WAKE", "HOLDING", "IN ALL", "")
	for _, a := range why.Alternatives {
		if a.Cost < 0 {
			t.row(string(a.Tier), none, none, none, none, none, none, a.Unused)
			continue
		}
		after, wake, note := none, none, a.Unused
		if a.Rung {
			after = about(a.After)
		}
		if a.Wake > 0 {
			if wake = latency(a.Wake.Duration()); a.Wakes == 0 {
				wake += "?"
			}
		}
		if a.Tier == why.Tier {
			note = strings.TrimSpace("now " + note)
		}
		t.row(string(a.Tier), after, size(a.Memory), size(a.Disk), wake, three(a.Hold), three(a.Cost), note)
	}
	return &t
}

// three is a number with three digits.
func three(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// about is a duration to its second unit.
func about[D ~int64](d D) string {
	switch t := time.Duration(d); {
	case t < 10*time.Second:
		return fmt.Sprintf("%.1fs", t.Seconds())
	case t < time.Minute:
		return fmt.Sprintf("%.0fs", t.Seconds())
	case t < 10*time.Minute:
		return t.Round(time.Second).String()
	case t < time.Hour:
		return fmt.Sprintf("%.0fm", t.Minutes())
	case t < 48*time.Hour:
		return strings.TrimSuffix(t.Round(time.Minute).String(), "0s")
	default:
		return fmt.Sprintf("%.0fd", t.Hours()/24)
	}
}
