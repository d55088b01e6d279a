package main

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/runtime/api"
)

func newInfo(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "info",
		Short: "Describe the running node",
		Long:  "Describes the daemon and its machine: how the BPF programs are attached, which limits cannot be set, and why.",
		Args:  cobra.NoArgs,
	}
	output := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client := e.client()
		defer client.Close()
		info, err := client.Info(cmd.Context())
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return printJSON(e.stdout, info)
		}
		return printInfo(e, &info)
	}
	return cmd
}

func printInfo(e *env, n *api.NodeInfo) error {
	var t table
	t.row("daemon", fmt.Sprintf("%s, pid %d, started %s", n.Version, n.PID, ago(e.now(), n.Started)))
	t.row("kernel", n.Kernel)
	t.row("device", strings.TrimSpace(n.Device+" "+n.DeviceKind))
	t.row("attached by", n.Attach)
	t.row("prefixes", prefixes(n.Prefixes))
	if len(n.Uplinks) > 0 {
		t.row("uplinks", strings.Join(n.Uplinks, ", "))
	}
	t.row("sites", fmt.Sprintf("%d, with %s", n.Sites, plural(n.Replicas, "replica")))
	t.row("cgroup", n.Cgroup.Path+hybrid(n.Cgroup.Hybrid))
	t.row("controllers", orNone(strings.Join(n.Cgroup.Controllers, ", ")))
	for _, u := range n.Cgroup.Unlimited {
		t.row("not limited", fmt.Sprintf("%s: %s; %s", u.Limits, u.Why, u.Remedy))
	}
	for _, f := range n.Features {
		if !f.Available {
			t.row("not available", f.Name+": "+f.Reason)
		}
	}
	return t.print(e.stdout)
}

func hybrid(yes bool) string {
	if yes {
		return " (hybrid: cgroup v1 has the controllers)"
	}
	return ""
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

func prefixes(all []netip.Prefix) string {
	texts := make([]string, len(all))
	for i, p := range all {
		texts[i] = p.String()
	}
	return strings.Join(texts, ", ")
}
