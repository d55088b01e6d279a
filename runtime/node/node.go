package node

import (
	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/netctl"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/firewall"
	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/priority"
	"github.com/fcnode/fcnode/runtime/sites"
	"github.com/fcnode/fcnode/runtime/status"
	"github.com/fcnode/fcnode/runtime/watchdog"
)

// Node is the daemon's state.
type Node struct {
	*life.Host
	status     *status.Status
	dp         *bpf.Datapath
	net        *netctl.Net
	images     *image.Store
	grown      chan struct{} // an image was unpacked; of size 1
	containers *container.Manager
	parent     *cgroup.Parent
	cgroups    cgroup.Host
	closers    []func() error
	threads    priority.Threads
	watch      watchdog.Watch
	mended     []string // what was wrong with the node's folders

	table  *sites.Table
	denied *sites.Sources

	firewall *firewall.Follower
}
