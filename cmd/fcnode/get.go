package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/runtime/api"
)

func newGet(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "get SITE",
		Short:             "Show everything about one site",
		Long:              "Shows everything about one site; with -o json also its spec, defaults filled in.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeSites(e, 1),
	}
	output := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client := e.client()
		defer client.Close()
		site, err := client.Get(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return printJSON(e.stdout, site)
		}
		return printSite(e, &site)
	}
	return cmd
}

func printSite(e *env, s *api.Site) error {
	now := e.now()
	var t table
	add := func(name, value string) {
		if value != "" {
			t.row(name, value)
		}
	}
	add("name", s.Name)
	if s.Spec != nil {
		add("image", s.Spec.Image)
	}
	add("addresses", addresses(s.Addresses))
	add("ports", strings.Join(s.Ports, ", "))
	add("domains", strings.Join(s.Domains, ", "))
	add("phase", string(s.Phase))
	add("tier", string(s.Tier))
	add("replicas", fmt.Sprintf("%d of at most %d", len(s.Replicas), s.ReplicasMax))
	add("connections", fmt.Sprintf("%d now, %d in total", s.Conns.Now, s.Conns.Total))
	add("idle", age(s.Idle.Duration()))
	if s.Latency != nil {
		add("latency", fmt.Sprintf("%s p50, %s p99", latency(s.Latency.P50.Duration()), latency(s.Latency.P99.Duration())))
	}
	add("limits", limits(s.Limits))
	add("use", usage(s.Usage))
	if s.Decision != nil {
		add("last decision", decision(s.Decision, now))
	}
	add("last error", siteError(s.Error, now))
	add("spec", s.SpecDigest)
	if err := t.print(e.stdout); err != nil || len(s.Replicas) == 0 {
		return err
	}
	fmt.Fprintln(e.stdout)
	return printReplicas(e, s.Replicas, now)
}

func printReplicas(e *env, all []api.Replica, now time.Time) error {
	var t table
	t.row("REPLICA", "TIER", "STATE", "PID", "STARTED", "CONNS", "TOTAL")
	for _, r := range all {
		pid := none
		if r.PID != 0 {
			pid = strconv.Itoa(r.PID)
		}
		t.row(r.ID, string(r.Tier), r.State, pid, ago(now, r.Started), strconv.FormatUint(r.Conns.Now, 10), strconv.FormatUint(r.Conns.Total, 10))
	}
	return t.print(e.stdout)
}

func limits(l api.Limits) string {
	var parts []string
	if l.CPU != nil {
		parts = append(parts, withRange("cpu", l.CPU.Now, l.CPU.Min, l.CPU.Max, cores))
	}
	if l.Memory != nil {
		parts = append(parts, withRange("memory", l.Memory.Now, l.Memory.Min, l.Memory.Max, size))
	}
	if l.PIDs != nil {
		parts = append(parts, fmt.Sprintf("pids %d", *l.PIDs))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// withRange is "cpu 2 (0.25 to 4)", "cpu 4" where nothing can change.
func withRange[N int64 | float64](name string, now, lowest, highest N, format func(N) string) string {
	text := name + " unlimited"
	if now != 0 {
		text = name + " " + format(now)
	}
	switch {
	case lowest != 0 && highest != 0 && lowest != highest:
		return fmt.Sprintf("%s (%s to %s)", text, format(lowest), format(highest))
	case lowest != 0:
		return fmt.Sprintf("%s (at least %s)", text, format(lowest))
	case highest != 0 && highest != now:
		return fmt.Sprintf("%s (at most %s)", text, format(highest))
	default:
		return text
	}
}

func usage(u *api.Usage) string {
	if u == nil {
		return ""
	}
	var parts []string
	if u.CPU != nil {
		parts = append(parts, "cpu "+usedCores(*u.CPU))
	}
	if u.Memory != nil {
		parts = append(parts, "memory "+size(*u.Memory))
	}
	if u.PIDs != nil {
		parts = append(parts, fmt.Sprintf("pids %d", *u.PIDs))
	}
	return strings.Join(parts, ", ")
}

func siteError(e *api.SiteError, now time.Time) string {
	if e == nil {
		return ""
	}
	text := ago(now, e.Time) + ": " + e.Message
	if e.Retry.After(now) {
		text += fmt.Sprintf(" (next try in %s)", age(e.Retry.Sub(now)))
	}
	return text
}
