package node

import (
	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/netctl"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/priority"
	"github.com/fcnode/fcnode/runtime/sites"
	"github.com/fcnode/fcnode/runtime/status"
)

// Node is the daemon's state.
type Node struct {
	*life.Host
	status     *status.Status
	dp         *bpf.Datapath
	net        *netctl.Net
	images     *image.Store
	containers *container.Manager
	parent     *cgroup.Parent
	cgroups    cgroup.Host
	closers    []func() error
	threads    priority.Threads
	held       pulse // of the loops that visitors depend on
	sockets    pulse
	tableLock  pulse
	mended     []string // what was wrong with the node's folders

	table *sites.Table
}
