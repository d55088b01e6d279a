package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/runtime/api"
)

func newList(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the sites",
		Args:    cobra.NoArgs,
	}
	output := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client := e.client()
		defer client.Close()
		sites, err := client.List(cmd.Context())
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return printJSON(e.stdout, sites)
		}
		return printList(e, sites)
	}
	return cmd
}

func printList(e *env, sites []api.Site) error {
	if len(sites) == 0 {
		fmt.Fprintln(e.stderr, "No sites yet: create one with `fcnode apply -f FILE`.")
		return nil
	}
	// Until requests are counted the column would be empty.
	p99 := slices.ContainsFunc(sites, func(s api.Site) bool { return s.Latency != nil })
	var t table
	t.row(withLatency(p99, "P99", "NAME", "ADDRESS", "TIER", "REPLICAS", "CONNS", "IDLE", "CPU", "MEMORY", "LAST DECISION")...)
	now := e.now()
	for i := range sites {
		s := &sites[i]
		t.row(withLatency(p99, listLatency(s), s.Name, listAddress(s), tier(s), replicas(s), conns(s),
			listIdle(s), listCPU(s), listMemory(s), listDecision(s, now))...)
	}
	return t.print(e.stdout)
}

// latencyColumn is where the column of latencies stands.
const latencyColumn = 5

func withLatency(show bool, cell string, cells ...string) []string {
	if !show {
		return cells
	}
	return slices.Insert(cells, latencyColumn, cell)
}

func listAddress(s *api.Site) string {
	if len(s.Addresses) == 0 {
		return none
	}
	return s.Addresses[0].String()
}

// tier adds the phase where it says more.
func tier(s *api.Site) string {
	if s.Phase == api.PhaseParked || s.Phase == api.PhaseRunning || s.Phase == "" {
		return string(s.Tier)
	}
	return fmt.Sprintf("%s (%s)", s.Tier, s.Phase)
}

func replicas(s *api.Site) string {
	if len(s.Replicas) == 0 {
		return "0"
	}
	serving, spare := countReplicas(s)
	out := fmt.Sprintf("%d/%d", serving, s.ReplicasMax)
	if spare > 0 {
		out += fmt.Sprintf("+%d", spare)
	}
	return out
}

// countReplicas tells those that stand ready to be added from the others.
func countReplicas(s *api.Site) (serving, spare int) {
	for _, r := range s.Replicas {
		if r.Spare {
			spare++
		}
	}
	return len(s.Replicas) - spare, spare
}

func listLatency(s *api.Site) string {
	if s.Latency == nil {
		return none
	}
	return latency(s.Latency.P99.Duration())
}

func listCPU(s *api.Site) string {
	if s.Usage == nil || s.Usage.CPU == nil {
		return none
	}
	used := usedCores(*s.Usage.CPU)
	if s.Limits.CPU == nil || s.Limits.CPU.Now == 0 {
		return used
	}
	return used + "/" + cores(s.Limits.CPU.Now)
}

func listMemory(s *api.Site) string {
	switch {
	case s.Usage == nil || s.Usage.Memory == nil:
		if len(s.Replicas) == 0 {
			return "0 B"
		}
		return none
	case s.Limits.Memory == nil || s.Limits.Memory.Now == 0:
		return size(*s.Usage.Memory)
	default:
		return sizes(*s.Usage.Memory, s.Limits.Memory.Now)
	}
}

func listDecision(s *api.Site, now time.Time) string {
	if s.Decision == nil {
		return none
	}
	d := *s.Decision
	d.Reason = clause(d.Reason)
	return decision(&d, now)
}

// mostClause is how long a reason may be in a table.
const mostClause = 80

// clause is the beginning of a reason, which may be a whole log: get and events
// have all of it.
func clause(reason string) string {
	first, _, more := strings.Cut(reason, "\n")
	if runes := []rune(first); len(runes) > mostClause {
		first, more = string(runes[:mostClause-1]), true
	}
	if more {
		first = strings.TrimRight(first, " :;,.") + "…"
	}
	return first
}

// decision is "parked 12m ago: idle 5m".
func decision(d *api.Decision, now time.Time) string {
	text := d.Action + " " + ago(now, d.Time)
	if d.Reason != "" {
		text += ": " + d.Reason
	}
	return text
}

func addresses(all []netip.Addr) string {
	texts := make([]string, len(all))
	for i, a := range all {
		texts[i] = a.String()
	}
	return strings.Join(texts, ", ")
}

// listIdle is "-" for a site that sleeps and has never been visited.
func listIdle(s *api.Site) string {
	if s.Phase != api.PhaseRunning && s.Idle == 0 {
		return "-"
	}
	return age(s.Idle.Duration())
}

// conns is "3", and "0+2" of a sleeping site that holds two connections to others.
func conns(s *api.Site) string {
	text := strconv.FormatUint(s.Conns.Now, 10)
	if s.OwnConns > 0 {
		text += "+" + strconv.Itoa(s.OwnConns)
	}
	return text
}
