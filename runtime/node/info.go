package node

import (
	"context"
	"os"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/api"
)

// Info implements api.Backend.
func (n *Node) Info(context.Context) (api.NodeInfo, error) {
	v := n.info
	entries := n.all()
	v.Sites = len(entries)
	for _, e := range entries {
		e.mu.Lock()
		if e.active != nil {
			v.Replicas += len(e.active.replicas)
		}
		e.mu.Unlock()
	}
	return v, nil
}

// describe fills in what stays the same as long as the daemon runs.
func (n *Node) describe(version string) {
	n.info.Version = version
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		n.info.Kernel = strings.TrimSpace(string(b))
	}
	n.info.Attach, n.info.Device, n.info.DeviceKind = string(n.dp.Mode()), n.cfg.Device, ""
	if l, err := netlink.LinkByIndex(n.net.DeviceIfindex()); err == nil {
		n.info.DeviceKind = l.Type()
	}
	n.info.Prefixes, n.info.Uplinks = n.cfg.Prefixes, n.cfg.Uplinks
	n.info.Cgroup = api.CgroupInfo{Path: n.cfg.CgroupRoot, Hybrid: n.host.Private, Controllers: n.host.Controllers}
	for _, lack := range n.host.Lacks {
		n.info.Cgroup.Unlimited = append(n.info.Cgroup.Unlimited, api.Unlimited(lack))
	}
	for _, f := range bpf.Probe() {
		v := api.Feature{Name: f.Name, Since: f.Since, Available: f.Err == nil}
		if f.Err != nil {
			v.Reason = f.Err.Error()
		}
		n.info.Features = append(n.info.Features, v)
	}
}
