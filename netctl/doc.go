// Package netctl owns everything about packets outside of BPF: the fcnode
// device and the routes that bring the VIP prefixes to it, the sink that
// refuses, the pool of prepared network namespaces, and the packets that are
// held while a site wakes.
//
// # What lies on the machine
//
//	clients ──> uplink ──> route of each prefix ──> fc0 ──(steer)──> fcvN ── eth0 of a replica
//	                              │                     └──────────> fc0-sink ── eth0 of the sink
//	                              └ of a worse metric: unreachable
//
// [Setup] makes or adopts all of it and [Net.Remove] takes it away again. Every
// device carries the same hardware address and has ARP off, so no packet is ever
// rewritten and nobody is ever asked for an address. The routes to fc0 and the
// default routes in the namespaces have a made-up gateway: with one, the kernel
// keeps one neighbour entry per device instead of one per client or VIP (of
// which it would take no more than net.ipv4.neigh.default.gc_thresh3, 1024).
//
// # Who holds a namespace
//
// A replica's namespace is held by descriptors and processes only, so that
// nothing is left of it when they end. The sink has to outlive the daemon and
// has no process: it is bind-mounted at <RunDir>/sink, in the mount namespace
// [Config.MountNS]. See [Config] for what that means on hybrid hosts.
//
// Deadlines of held packets come from the clock given to [NewHolder]. The only
// others are the pool's pause after a failure and the limit of waiting for a new
// veth's carrier.
package netctl
