package netctl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"

	"github.com/fcnode/fcnode/runtime/thread"
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
	name    string // of the host end
	remover *remover
	dp      Datapath
	pair    *pair

	mu     sync.Mutex // one Assign or Close at a time
	closed bool
}

// FD is the namespace's descriptor, for the runner. It is the Namespace's: it
// lives until Close, and the caller does not close it.
func (n *Namespace) FD() *os.File { return n.pair.ns }

// Cookie is the number by which BPF programs know the namespace.
func (n *Namespace) Cookie() uint64 { return n.pair.cookie }

// NSID is the namespace's id as seen from the node's namespace, for
// bpf_skc_lookup_tcp.
func (n *Namespace) NSID() int { return n.pair.nsid }

// HostIfindex is the index of the veth's end in the node's namespace.
func (n *Namespace) HostIfindex() int { return n.pair.host }

// HostName is the name of the veth's end in the node's namespace.
func (n *Namespace) HostName() string { return n.name }

// Assign gives the replica its VIPs. They take packets when it returns. Giving
// one again is fine. On an error none of the call's addresses stays.
func (n *Namespace) Assign(addrs ...netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return fmt.Errorf("assign %v to the namespace behind %s: %w", addrs, n.name, ErrClosed)
	}
	for i, a := range addrs {
		if err := n.pair.assign(a); err != nil {
			err = fmt.Errorf("assign %s to the namespace behind %s: %w", a, n.name, err)
			for _, b := range addrs[:i] {
				err = errors.Join(err, n.pair.unassign(b))
			}
			return err
		}
	}
	return nil
}

func (p *pair) assign(a netip.Addr) error {
	inner := linkOf(p.inner, innerName)
	if err := p.inside.AddrReplace(inner, vipAddr(a)); err != nil {
		return err
	}
	if a.Is4() {
		return nil
	}
	// Linux leaves the route of a new IPv6 address to a worker that waits for
	// the lock of all network configuration, even if there is nothing to be
	// detected. Until then the packets just released would be dropped, so this
	// route does its work meanwhile; it may stay.
	if err := p.inside.RouteReplace(p.vipRoute(a)); err != nil {
		return errors.Join(err, p.inside.AddrDel(inner, vipAddr(a)))
	}
	return nil
}

func (p *pair) unassign(a netip.Addr) error {
	err := p.inside.AddrDel(linkOf(p.inner, innerName), vipAddr(a))
	if a.Is6() {
		err = errors.Join(err, deleteRoute(p.inside, p.vipRoute(a)))
	}
	return err
}

func (p *pair) vipRoute(a netip.Addr) *netlink.Route {
	return &netlink.Route{
		Dst: toIPNet(netip.PrefixFrom(a, a.BitLen())), LinkIndex: p.inner, Type: unix.RTN_LOCAL,
		Protocol: routeProtocol, Priority: metricDevice, Table: unix.RT_TABLE_LOCAL,
	}
}

func vipAddr(a netip.Addr) *netlink.Addr {
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}}
	if a.Is6() {
		// Nobody can have the address twice, and a replica does not wait a
		// second to find out.
		addr.Flags = unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE
	}
	return addr
}

// Dial connects by TCP from an address within the namespace, as those who are
// inside can: to 127.0.0.1 too.
func (n *Namespace) Dial(ctx context.Context, from netip.Addr, to netip.AddrPort) (c net.Conn, err error) {
	ns, err := n.own()
	if err != nil {
		return nil, fmt.Errorf("connect to %s within the namespace behind %s: %w", to, n.name, err)
	}
	defer ns.Close()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}}
	err = thread.InNetns(ns, func() (err error) {
		c, err = d.DialContext(ctx, "tcp", to.String())
		return err
	})
	return c, err
}

// own is a descriptor of the namespace that outlives Close.
func (n *Namespace) own() (*os.File, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, ErrClosed
	}
	fd, err := unix.FcntlInt(n.pair.ns.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate the descriptor of a namespace: %w", err)
	}
	return os.NewFile(uintptr(fd), n.pair.ns.Name()), nil
}

// Close takes the veth away and lets go of the namespace, which ends with the
// last process inside of it. It takes some 30 ms, mostly of waiting for the
// kernel. Calling it again is fine; after [Net.Close] it leaves the veth.
func (n *Namespace) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil
	}
	n.closed = true
	return errors.Join(
		n.dp.DetachReplica(n.pair.host),
		n.remover.remove(linkOf(n.pair.host, n.name)),
		n.pair.close(),
	)
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
	return n.pair.close()
}
