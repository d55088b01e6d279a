package netctl

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// replicaSettings are those of a replica's namespace on top of pairSettings.
var replicaSettings = []sysctl{
	// The namespace is the replica's alone: an image that does not run as root
	// may still listen on port 80.
	{"net/ipv4/ip_unprivileged_port_start", "0"},
	// CRIU cannot dump MPTCP listeners, which Go makes by default since 1.24.
	{"net/mptcp/enabled", "0"},
}

// Namespace is the network namespace of one replica, with its veth. The methods
// are safe for concurrent use.
type Namespace struct {
	name string // of the host end
	node *netlink.Handle
	dp   Datapath

	mu     sync.Mutex // guards what is below, and the order of Assign and Close
	pair   *pair
	closed bool

	cookie      uint64
	host, nsid  int
	onClose     func(*Namespace)
	descriptors *os.File
}

func newNamespace(p *pair, name string, node *netlink.Handle, dp Datapath, onClose func(*Namespace)) *Namespace {
	return &Namespace{
		name: name, node: node, dp: dp, pair: p, onClose: onClose,
		cookie: p.cookie, host: p.host, nsid: p.nsid, descriptors: p.ns,
	}
}

// FD is the namespace's descriptor, for the runner. It is the Namespace's: it
// lives until Close, and the caller does not close it.
func (n *Namespace) FD() *os.File { return n.descriptors }

// Cookie is the number by which BPF programs know the namespace.
func (n *Namespace) Cookie() uint64 { return n.cookie }

// NSID is the namespace's id as seen from the node's namespace, for
// bpf_skc_lookup_tcp.
func (n *Namespace) NSID() int { return n.nsid }

// HostIfindex and HostName are those of the veth's end in the node's namespace.
func (n *Namespace) HostIfindex() int { return n.host }
func (n *Namespace) HostName() string { return n.name }

// Assign gives the replica its VIPs. They can be used when it returns. Giving
// one again is fine. On an error none of the call's addresses stays.
func (n *Namespace) Assign(addrs ...netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return fmt.Errorf("assigning %v to the namespace behind %s: %w", addrs, n.name, ErrClosed)
	}
	inner := linkOf(n.pair.inner, innerName)
	for i, a := range addrs {
		if err := n.pair.inside.AddrReplace(inner, vipAddr(a)); err != nil {
			err = fmt.Errorf("assigning %s to the namespace behind %s: %w", a, n.name, err)
			for _, b := range addrs[:i] {
				err = errors.Join(err, n.pair.inside.AddrDel(inner, vipAddr(b)))
			}
			return err
		}
	}
	return nil
}

func vipAddr(a netip.Addr) *netlink.Addr {
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}}
	if a.Is6() {
		// Nobody can have the address twice, and a replica does not wait a second to find out.
		addr.Flags = unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE
	}
	return addr
}

// Close takes the veth away and lets go of the namespace, which ends with the
// last process inside of it. Calling it again is fine.
func (n *Namespace) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil
	}
	n.closed = true
	err := errors.Join(
		n.dp.DetachReplica(n.host),
		deleteLink(n.node, linkOf(n.host, n.name)),
		n.pair.close(),
	)
	if n.onClose != nil {
		n.onClose(n)
	}
	return err
}

// Leave lets go of the namespace but leaves the veth, the program and the
// addresses to those who are inside: for a daemon that ends while its replicas
// live on. The next one takes them back by [Pool.Adopt].
func (n *Namespace) Leave() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil
	}
	n.closed = true
	if n.onClose != nil {
		n.onClose(n)
	}
	return n.pair.close()
}
