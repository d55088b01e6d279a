package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/fcnode/fcnode/tests/testutil"
)

// machineState is what a node must leave as it was.
type machineState struct {
	links, routes, sysctls []string
}

// forwarding are settings that fcnode changes while it runs.
var forwarding = []string{
	"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv4/conf/all/rp_filter",
	"net/ipv4/conf/" + uplink + "/forwarding", "net/ipv6/conf/" + uplink + "/forwarding", "net/ipv4/conf/" + uplink + "/rp_filter",
}

// look reads the state of the machine's network.
func (n *node) look() (m machineState) {
	h := n.ns.Netlink()
	links, err := h.LinkList()
	if err != nil {
		n.t.Fatal(err)
	}
	for _, l := range links {
		m.links = append(m.links, fmt.Sprintf("%s (%s) qdisc-clsact=%v", l.Attrs().Name, l.Type(), n.hasClsact(l)))
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := h.RouteListFiltered(family, &netlink.Route{Table: 0}, netlink.RT_FILTER_TABLE)
		if err != nil {
			n.t.Fatal(err)
		}
		for _, r := range routes {
			if r.Dst != nil && r.Dst.IP.IsLinkLocalUnicast() {
				continue // comes when the kernel has found out that nobody else has it
			}
			m.routes = append(m.routes, r.String())
		}
		rules, err := h.RuleList(family)
		if err != nil {
			n.t.Fatal(err)
		}
		for _, r := range rules {
			m.routes = append(m.routes, r.String())
		}
	}
	n.ns.Do(n.t, func() {
		for _, name := range forwarding {
			b, err := os.ReadFile("/proc/sys/" + name)
			m.sysctls = append(m.sysctls, fmt.Sprintf("%s=%s %v", name, strings.TrimSpace(string(b)), err))
		}
	})
	slices.Sort(m.links)
	slices.Sort(m.routes)
	return m
}

func (n *node) hasClsact(l netlink.Link) bool {
	qdiscs, err := n.ns.Netlink().QdiscList(l)
	if err != nil {
		n.t.Fatal(err)
	}
	return slices.ContainsFunc(qdiscs, func(q netlink.Qdisc) bool { return q.Type() == "clsact" })
}

// checkGone fails the test for everything that the node has left behind.
func (n *node) checkGone() {
	now := n.look()
	n.same("links", n.machine.links, now.links)
	n.same("routes and rules", n.machine.routes, now.routes)
	n.same("settings", n.machine.sysctls, now.sysctls)
	for what, path := range map[string]string{
		"run directory": n.run(""), "pins": n.pins(), "cgroups": filepath.Join("/sys/fs/cgroup", n.id),
	} {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			n.t.Errorf("%s: %s is still there (%v)%s", what, path, err, tree(path))
		}
	}
	mounts, err := os.ReadFile(n.mounts)
	if err != nil {
		n.t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, n.run("")) || strings.Contains(line, n.path("state")) {
			n.t.Errorf("a mount is left: %s", line)
		}
	}
	// Their end is announced to the parent only, which is init.
	testutil.WaitFor(n.t, patience, "the last processes to end", func() error {
		if left := n.processes(); len(left) > 0 {
			return fmt.Errorf("there are still %q", left)
		}
		return nil
	})
}

func (n *node) same(what string, before, after []string) {
	n.t.Helper()
	for _, s := range after {
		if !slices.Contains(before, s) {
			n.t.Errorf("%s: was not there before: %s", what, s)
		}
	}
	for _, s := range before {
		if !slices.Contains(after, s) {
			n.t.Errorf("%s: is not there any more: %s", what, s)
		}
	}
}

// tree lists a folder.
func tree(path string) string {
	var b strings.Builder
	_ = filepath.WalkDir(path, func(p string, _ os.DirEntry, _ error) error { // best effort, for the message
		b.WriteString("\n  " + p)
		return nil
	})
	return b.String()
}

// processes are those of the node that still run.
func (n *node) processes() []string {
	var found []string
	pids, _ := filepath.Glob("/proc/[0-9]*") // the pattern is well-formed
	for _, dir := range pids {
		cg, err := os.ReadFile(dir + "/cgroup")
		if err != nil {
			continue // it ended
		}
		cmd, _ := os.ReadFile(dir + "/cmdline") // empty for a zombie
		env, _ := os.ReadFile(dir + "/environ")
		if len(cmd) > 0 && (strings.Contains(string(cg), "/"+n.id+"/") || strings.Contains(string(cmd), "/"+n.id) || strings.Contains(string(env), "/"+n.id)) {
			found = append(found, filepath.Base(dir)+" "+strings.ReplaceAll(string(cmd), "\x00", " "))
		}
	}
	return found
}
