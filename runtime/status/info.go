package status

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/sites"
)

// Info implements api.Backend.
func (s *Status) Info(context.Context) (api.NodeInfo, error) {
	v := s.info
	entries := s.table.All()
	v.Sites = len(entries)
	for _, e := range entries {
		e.With(func(l *life.Live) {
			if l.Activity != nil {
				v.Replicas += len(l.Replicas)
			}
		})
	}
	return v, nil
}

// Status shows the node and its sites to users.
type Status struct {
	host    *life.Host
	table   *sites.Table
	cgroups cgroup.Host
	denied  func() int
	ignored Ignored
	info    api.NodeInfo // what does not change
}

// Machine is what a node has found on its machine, and its program's version.
type Machine struct {
	Version string
	Attach  bpf.Mode
	Device  int // its index
	Cgroups cgroup.Host
	Denied  func() int // how many prefixes are denied
	Ignored Ignored
}

// New is called when everything is open that is to be shown.
func New(h *life.Host, t *sites.Table, m Machine) *Status {
	s := &Status{host: h, table: t, cgroups: m.Cgroups, denied: m.Denied, ignored: m.Ignored, info: api.NodeInfo{Started: time.Now(), PID: os.Getpid()}}
	s.describe(m)
	return s
}

// describe fills in what stays the same as long as the daemon runs.
func (s *Status) describe(m Machine) {
	s.info.Version = m.Version
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		s.info.Kernel = strings.TrimSpace(string(b))
	}
	s.info.Attach, s.info.Device, s.info.DeviceKind = string(m.Attach), s.host.Cfg.Device, ""
	if l, err := netlink.LinkByIndex(m.Device); err == nil {
		s.info.DeviceKind = l.Type()
	}
	s.info.Prefixes, s.info.Uplinks = s.host.Cfg.Prefixes, s.host.Cfg.Uplinks
	s.info.Cgroup = api.CgroupInfo{Path: s.host.Cfg.CgroupRoot, Hybrid: s.cgroups.Private, Controllers: s.cgroups.Controllers}
	for _, lack := range s.cgroups.Lacks {
		s.info.Cgroup.Unlimited = append(s.info.Cgroup.Unlimited, api.Unlimited(lack))
	}
	for _, f := range bpf.Probe() {
		v := api.Feature{Name: f.Name, Since: f.Since, Available: f.Err == nil}
		if f.Err != nil {
			v.Reason = f.Err.Error()
		}
		s.info.Features = append(s.info.Features, v)
	}
}
