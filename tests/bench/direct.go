package main

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/fcnode/fcnode/runtime/thread"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/demo/stage"
)

// The plain host beside fcnode, and the client's second cable to the node, to
// which fcnode's programs are not attached. The prefixes are for documentation
// (RFC 5737).
const (
	directAddr  = "192.0.2.2"
	directNode  = "192.0.2.1"
	directNet   = "192.0.2.0/24"
	cableNode   = "203.0.113.1"
	cableClient = "203.0.113.2"
	cableName   = "uplink1"
	plainName   = "plain0"
	wireNear    = "198.18.0.1" // RFC 2544: benchmarks
	wireFar     = "198.18.0.2"
)

// plain is a network namespace such as a container manager without fcnode
// would route to:
//
//	client eth1  ═══ uplink1 (node, forwarding) plain0 ═══ eth0
//	client wire0 ═════════════════════════════════════════ wire0
type plain struct {
	ns   netns.NsHandle
	file *os.File
}

func newPlain(c *stage.Client) (*plain, error) {
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return nil, fmt.Errorf("turn forwarding on in the bench's own namespace: %w", err)
	}
	p := &plain{}
	err := thread.Throwaway(func() (err error) {
		p.ns, err = netns.New()
		return err
	})
	if err != nil {
		return nil, err
	}
	p.file = os.NewFile(uintptr(p.ns), "netns")
	host := cable{name: plainName, near: directNode, far: directAddr, end: "eth0", ns: p.ns, route: "0.0.0.0/0"}
	client := cable{name: cableName, near: cableNode, far: cableClient, end: "eth1", ns: netns.NsHandle(c.FD()), route: directNet}
	if err := errors.Join(host.lay(), client.lay(), wire(netns.NsHandle(c.FD()), p.ns)); err != nil {
		return nil, errors.Join(fmt.Errorf("connect the plain host: %w", err), p.close())
	}
	return p, nil
}

// cable is a veth pair between the node and another namespace.
type cable struct {
	name, near string // on the node
	end, far   string // in the other namespace
	ns         netns.NsHandle
	route      string // reached from there through the node
}

func (c cable) lay() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = c.name
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: c.end, PeerNamespace: netlink.NsFd(c.ns)}); err != nil {
		return err
	}
	node, err := netlink.NewHandle()
	if err != nil {
		return err
	}
	defer node.Close()
	far, err := netlink.NewHandleAt(c.ns)
	if err != nil {
		return err
	}
	defer far.Close()
	if err := enable(node, c.name, c.near); err != nil {
		return err
	}
	if err := enable(far, c.end, c.far); err != nil {
		return err
	}
	if lo, err := far.LinkByName("lo"); err != nil {
		return err
	} else if err := far.LinkSetUp(lo); err != nil {
		return err
	}
	end, err := far.LinkByName(c.end)
	if err != nil {
		return err
	}
	_, dst, err := net.ParseCIDR(c.route)
	if err != nil {
		return err
	}
	return far.RouteAdd(&netlink.Route{LinkIndex: end.Attrs().Index, Dst: dst, Gw: net.ParseIP(c.near)})
}

// wire connects two namespaces without the node in between.
func wire(near, far netns.NsHandle) error {
	a, err := netlink.NewHandleAt(near)
	if err != nil {
		return err
	}
	defer a.Close()
	b, err := netlink.NewHandleAt(far)
	if err != nil {
		return err
	}
	defer b.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "wire0"
	if err := a.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "wire0", PeerNamespace: netlink.NsFd(far)}); err != nil {
		return err
	}
	return errors.Join(enable(a, "wire0", wireNear), enable(b, "wire0", wireFar))
}

func enable(h *netlink.Handle, name, addr string) error {
	l, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	a, err := netlink.ParseAddr(addr + "/24")
	if err != nil {
		return err
	}
	if err := h.AddrAdd(l, a); err != nil {
		return err
	}
	return h.LinkSetUp(l)
}

// path by which other programs reach the namespace while this process lives.
func (p *plain) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(p.ns)) }

// ownSession is what a service or a container has. It counts where the
// scheduler shares the CPU among sessions (sched_autogroup_enabled).
func ownSession() *unix.SysProcAttr { return &unix.SysProcAttr{Setsid: true} }

func (p *plain) close() error {
	var errs []error
	for _, name := range []string{plainName, cableName} {
		if l, err := netlink.LinkByName(name); err == nil {
			errs = append(errs, netlink.LinkDel(l))
		}
	}
	return errors.Join(append(errs, p.file.Close())...)
}
