package netctl

import "net/netip"

// Datapath is what netctl needs of the programs in the kernel; *bpf.Datapath is
// one. Indexes are those of the node's network namespace, and the methods are
// called on a thread inside of it.
type Datapath interface {
	// AttachDevice attaches the steering program to the device's egress.
	AttachDevice(ifindex int) error
	// AttachUplink attaches the fast path to an uplink's ingress.
	AttachUplink(ifindex int) error
	// SetPrefixes tells the programs which addresses are VIPs.
	SetPrefixes(prefixes []netip.Prefix) error
	// SetUplink says whether the program at an uplink is to drop what would be
	// forwarded and is not for a VIP, by family.
	SetUplink(ifindex int, guard4, guard6 bool) error
	// DetachUplink takes it off again.
	DetachUplink(ifindex int) error
	// AttachReplica attaches to the host end of a replica's namespace; again is
	// fine.
	AttachReplica(ifindex int) error
	// AttachSink attaches to the host end of the sink's namespace.
	AttachSink(ifindex int) error
	// DetachReplica takes the program off a host end, also one that is gone; again is fine.
	DetachReplica(ifindex int) error
	// PruneReplicaPins unpins all host ends that are gone.
	PruneReplicaPins() error
	// SetDevice and SetSink tell the programs where to send packets.
	SetDevice(ifindex int) error
	SetSink(ifindex int) error
}
