package netctl

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/fcnode/fcnode/runtime/thread"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// innerName is what the far end of each pair is called, in replicas and sink.
const innerName = "eth0"

const (
	carrierTimeout = 5 * time.Second
	carrierPoll    = time.Millisecond
)

// pair is a network namespace joined to the node's by a veth.
type pair struct {
	ns     *os.File        // holds the namespace
	inside *netlink.Handle // works inside of it from any thread
	cookie uint64          // SO_NETNS_COOKIE
	host   int             // index of the host end, in the node's namespace
	inner  int             // index of eth0, inside
	nsid   int             // the namespace's id as seen from the node's
}

// pairSettings are those of every namespace of fcnode. The defaults are for
// eth0, which does not exist yet when they are written.
var pairSettings = []sysctl{
	{conf6("all", "disable_ipv6"), "0"},
	{conf6("default", "disable_ipv6"), "0"},
	{conf6("default", "addr_gen_mode"), "1"},
	{conf6("default", "accept_dad"), "0"},
	{conf6("default", "accept_ra"), "0"},
	{conf6("default", "router_solicitations"), "0"},
	// The effective filter is the stricter of "all" and the device's.
	{conf4("all", "rp_filter"), "0"},
	{conf4("default", "rp_filter"), "0"},
}

// makePair makes a namespace with the given further settings, and the veth. It
// must be called on a thread in the node's namespace, of which node is a
// handle. The host end is left without a program and with its far end up: until
// somebody steers packets to it nothing comes in.
func makePair(node *netlink.Handle, hostName string, mtu int, settings []sysctl) (*pair, error) {
	p := &pair{}
	err := inNewNetns(func(ns *os.File) error {
		p.ns = ns
		return p.prepareInside(settings)
	})
	if err == nil {
		err = p.connect(node, hostName, mtu)
	}
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// prepareInside runs on a thread inside of the namespace.
func (p *pair) prepareInside(settings []sysctl) error {
	for _, list := range [][]sysctl{pairSettings, settings} {
		for _, s := range list {
			if err := s.writeIfThere(); err != nil {
				return err
			}
		}
	}
	return p.open()
}

// open opens what works inside from then on. It runs inside of the namespace.
func (p *pair) open() (err error) {
	if p.inside, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open netlink in a network namespace: %w", err)
	}
	p.cookie, err = netnsCookie()
	return err
}

// netnsCookie returns the number by which BPF programs know the calling
// thread's network namespace. It is unique for the life of the kernel.
func netnsCookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open a socket for a network namespace's cookie: %w", err)
	}
	defer unix.Close(fd) // nothing was written
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0, fmt.Errorf("read a network namespace's cookie (SO_NETNS_COOKIE, Linux 5.14): %w", err)
	}
	return cookie, nil
}

func (p *pair) connect(node *netlink.Handle, hostName string, mtu int) error {
	a := netlink.NewLinkAttrs()
	a.Name, a.MTU, a.HardwareAddr = hostName, mtu, hwAddr
	// A veth neither queues nor locks, so one queue serves all processors; the
	// kernel's default is as many as there are processors, times 2 ends.
	a.NumTxQueues, a.NumRxQueues = 1, 1
	veth := netlink.NewVeth(a)
	veth.PeerName, veth.PeerHardwareAddr = innerName, hwAddr
	veth.PeerNamespace = netlink.NsFd(p.ns.Fd())
	if err := node.LinkAdd(veth); err != nil {
		return fmt.Errorf("make veth %s: %w", hostName, err)
	}
	host, err := node.LinkByName(hostName)
	if err != nil {
		return fmt.Errorf("find veth %s just made: %w", hostName, err)
	}
	p.host = host.Attrs().Index
	if err := quiet(node, host); err != nil {
		return errors.Join(err, deleteLink(node, host))
	}
	if err := p.configureInner(); err != nil {
		return errors.Join(err, deleteLink(node, host))
	}
	err = p.identify(node)
	if err == nil {
		err = waitCarrier(node, p.host)
	}
	if err != nil {
		return errors.Join(err, deleteLink(node, host))
	}
	return nil
}

// waitCarrier returns when a device can send. The first end of a veth to be set
// up drops what it is given until the kernel's link watch has noticed that the
// other end is up too. On newer kernels asking for this one device makes it
// look at once; on older ones it takes its time, mostly well below a
// millisecond.
func waitCarrier(h *netlink.Handle, ifindex int) error {
	for deadline := time.Now().Add(carrierTimeout); ; time.Sleep(carrierPoll) {
		l, err := h.LinkByIndex(ifindex)
		if err != nil {
			return fmt.Errorf("look at device %d just made: %w", ifindex, err)
		}
		if l.Attrs().OperState == netlink.OperUp {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("veth %s has no carrier after %v: is its other end being changed by somebody else?", l.Attrs().Name, carrierTimeout)
		}
	}
}

func (p *pair) configureInner() error {
	lo, err := p.inside.LinkByName("lo")
	if err == nil {
		err = p.inside.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set lo up in a network namespace: %w", err)
	}
	if err := p.findInner(); err != nil {
		return err
	}
	inner := linkOf(p.inner, innerName)
	if err := p.inside.LinkSetARPOff(inner); err != nil {
		return fmt.Errorf("set ARP off on %s: %w", innerName, err)
	}
	if err := p.inside.LinkSetUp(inner); err != nil {
		return fmt.Errorf("set %s up: %w", innerName, err)
	}
	for _, gw := range []net.IP{gateway4, gateway6} {
		r := &netlink.Route{LinkIndex: p.inner, Gw: gw, Flags: int(netlink.FLAG_ONLINK), Dst: defaultFor(gw)}
		err := p.inside.RouteReplace(r)
		if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
			continue // no IPv6 in this kernel
		}
		if err != nil {
			return fmt.Errorf("set the default route by %s in a network namespace: %w", gw, err)
		}
	}
	return nil
}

func defaultFor(gw net.IP) *net.IPNet {
	if gw.To4() != nil {
		return &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	}
	return &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
}

func (p *pair) findInner() error {
	l, err := p.inside.LinkByName(innerName)
	if err != nil {
		return fmt.Errorf("find %s in a network namespace: %w", innerName, err)
	}
	p.inner = l.Attrs().Index
	return nil
}

// identify reads the id that making the veth has given to the namespace.
func (p *pair) identify(node *netlink.Handle) error {
	id, err := node.GetNetNsIdByFd(int(p.ns.Fd()))
	if err == nil && id < 0 {
		// The kernel picks a free one for -1.
		if err = node.SetNetNsIdByFd(int(p.ns.Fd()), -1); err == nil {
			id, err = node.GetNetNsIdByFd(int(p.ns.Fd()))
		}
	}
	if err == nil && id < 0 {
		err = errors.New("the kernel has given it none")
	}
	if err != nil {
		return fmt.Errorf("find the id of a network namespace: %w", err)
	}
	p.nsid = id
	return nil
}

// close lets go of the namespace. It, and the veth with it, is gone when nobody
// else holds it. Again is fine.
func (p *pair) close() error {
	if p.inside != nil {
		p.inside.Close()
	}
	if p.ns == nil {
		return nil
	}
	if err := p.ns.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("close a network namespace: %w", err)
	}
	return nil
}

// adoptPair takes a namespace that exists already, with the host end of its
// veth. It must be called on a thread in the node's namespace.
func adoptPair(node *netlink.Handle, ns *os.File, host netlink.Link) (*pair, error) {
	p := &pair{ns: ns, host: host.Attrs().Index}
	err := p.identify(node)
	if err == nil && host.Attrs().NetNsID != p.nsid {
		err = fmt.Errorf("veth %s leads to another network namespace than %s", host.Attrs().Name, ns.Name())
	}
	if err == nil {
		err = thread.InNetns(ns, p.open)
	}
	if err == nil {
		err = p.findInner()
	}
	if err != nil {
		if p.inside != nil {
			p.inside.Close()
		}
		return nil, err
	}
	return p, nil
}

func linkOf(index int, name string) netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index, Name: name}}
}
