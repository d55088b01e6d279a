package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/spec"
)

func newGet(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "get SITE",
		Short:             "Show everything about one site",
		Long:              "Shows everything about one site. With -o json this includes its spec with all defaults filled in.",
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
	add("pinned", s.ImageDigest)
	add("addresses", addresses(s.Addresses))
	add("ports", strings.Join(s.Ports, ", "))
	add("domains", strings.Join(s.Domains, ", "))
	add("phase", string(s.Phase))
	add("tier", string(s.Tier))
	add("replicas", replicasInFull(s))
	add("no spare", s.SpareUnused)
	add("ladder", ladder(s))
	add("not used", unused(s))
	add("level", level(s.Level))
	add("price", price(s.Level))
	add("circulates", circulation(s.Circulation, now))
	add("connections", fmt.Sprintf("%d now, %d in total", s.Conns.Now, s.Conns.Total))
	if s.Flows > 0 {
		add("UDP", fmt.Sprintf("%d flows that last", s.Flows))
	}
	if s.OwnConns > 0 {
		add("holds", fmt.Sprintf("%d connections to others, asleep", s.OwnConns))
	}
	add("idle", age(s.Idle.Duration()))
	add("ignored", ignored(s.Ignored))
	if s.Latency != nil {
		add("latency", fmt.Sprintf("%s p50, %s p99", latency(s.Latency.P50.Duration()), latency(s.Latency.P99.Duration())))
	}
	add("load", load(s.Load))
	add("triggers", triggers(s.Triggers, now))
	add("limits", limits(s.Limits))
	for _, why := range s.NotScaled {
		add("not scaled", why)
	}
	add("use", usage(s.Usage))
	if s.Decision != nil {
		add("last decision", decision(s.Decision, now))
	}
	add("last error", siteError(s.Error, now))
	add("spec", s.SpecDigest)
	add("revision", revision(s, now))
	if err := t.print(e.stdout); err != nil || len(s.Replicas) == 0 {
		return err
	}
	fmt.Fprintln(e.stdout)
	return printReplicas(e, s.Replicas, now)
}

// circulation is "2026-12-05 03:00 (its processes are 5d old), 2026-12-06 14:10 at the latest: in this hour the fewest come".
func circulation(c *api.Circulation, now time.Time) string {
	if c == nil {
		return ""
	}
	at := "now"
	if c.At.After(now) {
		at = c.At.Local().Format(clockForm(now, c.At))
	}
	return fmt.Sprintf("%s (its processes are %s old), %s at the latest: %s", at, age(now.Sub(c.Born)), c.Latest.Local().Format(clockForm(now, c.Latest)), c.Why)
}

// revision is "4, before it 3 (registry.example/blog:2, until 12m ago)".
func revision(s *api.Site, now time.Time) string {
	if s.Revision == 0 {
		return ""
	}
	text := strconv.FormatUint(s.Revision, 10)
	for i, v := range s.Versions {
		if i == 0 {
			text += ", before it "
		} else {
			text += ", "
		}
		text += fmt.Sprintf("%d (%s, until %s)", v.Revision, v.Spec.Image, ago(now, v.Replaced))
	}
	return text
}

// ignored is "12 packets while asleep (answer: http 204), 34 while awake".
func ignored(i *api.Ignored) string {
	if i == nil {
		return ""
	}
	answer := i.Answer
	if i.Status != 0 {
		answer += " " + strconv.Itoa(i.Status)
	}
	return fmt.Sprintf("%s while asleep (answer: %s), %d while awake", plural(int(i.Asleep), "packet"), answer, i.Awake)
}

// replicasInFull is "1 of at most 4, 1 spare".
func replicasInFull(s *api.Site) string {
	serving, spare := countReplicas(s)
	out := fmt.Sprintf("%d of at most %d", serving, s.ReplicasMax)
	if spare > 0 {
		out += fmt.Sprintf(", %d spare", spare)
	}
	return out
}

func printReplicas(e *env, all []api.Replica, now time.Time) error {
	var t table
	t.row("REPLICA", "TIER", "STATE", "PID", "STARTED", "CONNS", "TOTAL")
	for _, r := range all {
		pid := none
		if r.PID != 0 {
			pid = strconv.Itoa(r.PID)
		}
		state := r.State
		if r.Spare {
			state = "spare"
		}
		t.row(r.ID, string(r.Tier), state, pid, ago(now, r.Started), strconv.FormatUint(r.Conns.Now, 10), strconv.FormatUint(r.Conns.Total, 10))
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
		parts = append(parts, withRange("pids", l.PIDs.Now, l.PIDs.Min, l.PIDs.Max, func(n int64) string { return strconv.FormatInt(n, 10) }))
	}
	for _, d := range l.IO {
		parts = append(parts, ioLimit(d))
	}
	if l.Disk != nil {
		parts = append(parts, diskLimit(l.Disk))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// diskLimit is "disk 10 GiB in 1M files (watched)".
func diskLimit(l *api.DiskLimit) string {
	text := "disk"
	if l.Bytes > 0 {
		text += " " + size(l.Bytes)
	}
	if l.Inodes > 0 {
		text += fmt.Sprintf(" in %s files", spec.Count(l.Inodes))
	}
	if l.By == api.DiskByWatch {
		return text + " (watched)"
	}
	return text + " (quota)"
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

// ioLimit is "io of /dev/vda: 10 MiB/s read (1.0 MiB to 20 MiB), 50 writes/s".
func ioLimit(l api.IOLimit) string {
	var parts []string
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	for _, v := range []struct {
		now, lowest, highest int64
		format               func(int64) string
		unit                 string
	}{
		{l.ReadBytes, l.Min.ReadBytes, l.Max.ReadBytes, size, "/s read"},
		{l.WriteBytes, l.Min.WriteBytes, l.Max.WriteBytes, size, "/s written"},
		{l.Reads, l.Min.Reads, l.Max.Reads, number, " reads/s"},
		{l.Writes, l.Min.Writes, l.Max.Writes, number, " writes/s"},
	} {
		if v.now == 0 {
			continue
		}
		text := v.format(v.now) + v.unit
		if v.lowest > 0 {
			text += fmt.Sprintf(" (%s to %s)", v.format(v.lowest), v.format(v.highest))
		}
		parts = append(parts, text)
	}
	return "io of " + l.Device + ": " + strings.Join(parts, ", ")
}

// level is "class gold: 0.1% over 50ms, of each site 1%; 0.04% of 41200 lately".
func level(l *api.Level) string {
	if l == nil {
		return ""
	}
	text := "its own"
	if l.Class != "" {
		text = "class " + l.Class
	}
	if l.Missing != "" {
		text += fmt.Sprintf(" (the configuration has no class %s)", l.Missing)
	}
	text += fmt.Sprintf(": %s over %s", percent(l.Late), l.Over.Duration())
	switch {
	case l.NotEach != "":
		text += "; not held to " + l.NotEach
	case l.Each > 0:
		text += ", of each site " + percent(l.Each)
	}
	if l.Requests >= 1 {
		text += fmt.Sprintf("; %s of %.0f lately", percent(l.Share), l.Requests)
	}
	return text
}

// price is "600 GiB·s a second of waiting; a GiB of memory 2.3".
func price(l *api.Level) string {
	if l == nil {
		return ""
	}
	text := three(l.Price) + " GiB·s for a second of waiting"
	if l.MemoryPrice != 1 {
		text += fmt.Sprintf("; memory %s times as dear as usual", three(l.MemoryPrice))
	}
	return text
}

func percent(share float64) string { return fmt.Sprintf("%.3g%%", 100*share) }

// ladder is "frozen after 5m, cold after 1h".
func ladder(s *api.Site) string {
	parts := make([]string, 0, len(s.Ladder))
	for _, r := range s.Ladder {
		text := fmt.Sprintf("%s after %s", r.Tier, age(r.After.Duration()))
		if r.Wakes > 0 {
			text += fmt.Sprintf(" (wakes in %s)", latency(r.Wake.Duration()))
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// unused are the tiers that are not on the ladder, and why.
func unused(s *api.Site) string {
	parts := make([]string, 0, len(s.LadderUnused))
	for _, r := range s.LadderUnused {
		parts = append(parts, fmt.Sprintf("%s (%s)", r.Tier, r.Reason))
	}
	return strings.Join(parts, ", ")
}

func load(l *api.Load) string {
	if l == nil {
		return ""
	}
	text := fmt.Sprintf("%s requests/s over %s, %d in total, %s in, %s out", rps(l.Rate), latency(l.Over.Duration()),
		l.Requests, size(int64(l.BytesIn)), size(int64(l.BytesOut)))
	for _, v := range []struct {
		n    uint64
		what string
	}{
		{uint64(l.AcceptQueue), "in the accept queue"}, {l.Refused, "refused"}, {l.Failed, "failed"}, {l.UDPFlows, "UDP flows"},
		{l.NoTurns, "connections that do not take turns"},
	} {
		if v.n > 0 {
			text += fmt.Sprintf(", %d %s", v.n, v.what)
		}
	}
	return text
}

// triggers are "conns 50 (crossed 3 times, 4s ago), accept-queue 64".
func triggers(all []api.Trigger, now time.Time) string {
	parts := make([]string, 0, len(all))
	for _, t := range all {
		text := t.Kind + " " + threshold(t)
		if t.Fired > 0 {
			text += fmt.Sprintf(" (crossed %s, %s)", plural(int(t.Fired), "time"), ago(now, t.Last))
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

func threshold(t api.Trigger) string {
	if t.Kind == api.TriggerLatency {
		return latency(time.Duration(t.Threshold))
	}
	return strconv.FormatFloat(t.Threshold, 'f', -1, 64)
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
	if u.Disk != nil && u.Inodes != nil {
		parts = append(parts, fmt.Sprintf("disk %s in %s", size(*u.Disk), plural(int(*u.Inodes), "file")))
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
