package netctl

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// sinkSettings are those of the sink's namespace on top of pairSettings. A
// client learns up to 10 times a second that nobody is there for it; the
// kernel's limit for all clients together (icmp_msgs_per_sec, 1000) stays.
var sinkSettings = []sysctl{
	{"net/ipv4/icmp_ratelimit", "100"},
	{"net/ipv6/icmp/ratelimit", "100"},
	{conf4("all", "accept_local"), "1"},
}

// ruleInbound is the priority of the sink's routing rule, see configureSink.
const ruleInbound = 10

// makeSink makes the namespace whose kernel answers for all that nobody else
// answers for: RST to TCP, port unreachable to UDP, and replies to pings.
func makeSink(node *netlink.Handle, cfg Config, mtu int) (*pair, error) {
	p, err := makePair(node, cfg.sinkName(), mtu, sinkSettings)
	if err != nil {
		return nil, fmt.Errorf("make the sink: %w", err)
	}
	err = configureSink(p, cfg.Prefixes)
	if err == nil {
		err = pinNetns(p.ns, cfg.sinkPath(), cfg.MountNS)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make the sink: %w", err), deleteLink(node, linkOf(p.host, cfg.sinkName())), p.close())
	}
	return p, nil
}

// adoptSink takes over the sink that an earlier daemon has left; nil without an
// error if there is none, or one that cannot be used: then all traces of it
// are removed.
func adoptSink(node *netlink.Handle, cfg Config) (*pair, error) {
	link, err := findLink(node, cfg.sinkName())
	if err != nil {
		return nil, err
	}
	ns, err := openPinned(cfg.sinkPath(), cfg.MountNS)
	if err != nil {
		return nil, err
	}
	if link != nil && ns != nil {
		p, err := adoptPair(node, ns, link)
		if err == nil {
			if err = configureSink(p, cfg.Prefixes); err == nil {
				return p, nil
			}
			p.close()
		}
	}
	if ns != nil {
		ns.Close()
	}
	if link != nil {
		if err := deleteLink(node, link); err != nil {
			return nil, err
		}
	}
	return nil, unpinNetns(cfg.sinkPath(), cfg.MountNS)
}

// configureSink makes the prefixes the sink's own, and only these.
//
// Its table of own addresses is asked for what comes in by eth0 only. Whatever
// it sends follows the default route: a replica is refused like everybody else,
// though its address, a VIP, is one that the sink has too.
func configureSink(p *pair, prefixes []netip.Prefix) error {
	lo, err := p.inside.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo in the sink: %w", err)
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		err := sinkRoutesOf(p.inside, family, lo.Attrs().Index, prefixes)
		if err == nil {
			err = onlyInbound(p.inside, family)
		}
		if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
			continue // no IPv6 in this kernel, and so in no prefix
		}
		if err != nil {
			return err
		}
	}
	return sinkAddresses(p.inside, lo, prefixes)
}

func sinkRoutesOf(h *netlink.Handle, family, lo int, prefixes []netip.Prefix) error {
	filter := &netlink.Route{Protocol: routeProtocol, Table: unix.RT_TABLE_LOCAL}
	have, err := dump(func() ([]netlink.Route, error) {
		return h.RouteListFiltered(family, filter, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return fmt.Errorf("list the sink's routes: %w", err)
	}
	var want []*netlink.Route
	for _, prefix := range prefixes {
		if prefix.Addr().Is4() == (family == netlink.FAMILY_V4) {
			want = append(want, &netlink.Route{
				Dst: toIPNet(prefix), LinkIndex: lo, Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST,
				Protocol: routeProtocol, Priority: metricDevice, Table: unix.RT_TABLE_LOCAL,
			})
		}
	}
	for i := range have {
		if !anyRoute(want, &have[i]) {
			if err := deleteRoute(h, &have[i]); err != nil {
				return err
			}
		}
	}
	for _, r := range want {
		if err := addRoute(h, r); err != nil {
			return err
		}
	}
	return nil
}

// sinkAddresses gives the sink the first address of each IPv6 prefix, which is
// no VIP (RFC 4291 reserves it for the routers of the subnet). A route alone
// will do for RST and ping, but ICMPv6 errors only come from an assigned
// address.
func sinkAddresses(h *netlink.Handle, lo netlink.Link, prefixes []netip.Prefix) error {
	have, err := dump(func() ([]netlink.Addr, error) { return h.AddrList(lo, netlink.FAMILY_V6) })
	if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) {
		return fmt.Errorf("list the sink's addresses: %w", err)
	}
	want := map[netip.Addr]bool{netip.IPv6Loopback(): true}
	for _, p := range prefixes {
		if p.Addr().Is4() {
			continue
		}
		want[p.Addr()] = true
		if err := h.AddrReplace(lo, vipAddr(p.Addr())); err != nil {
			return fmt.Errorf("give the sink the address %s: %w", p.Addr(), err)
		}
	}
	for i := range have {
		if p, ok := toPrefix(have[i].IPNet); ok && !want[p.Addr()] {
			if err := h.AddrDel(lo, &have[i]); err != nil {
				return fmt.Errorf("take the address %s from the sink: %w", p, err)
			}
		}
	}
	return nil
}

// onlyInbound replaces the kernel's rule "0: from all lookup local".
func onlyInbound(h *netlink.Handle, family int) error {
	inbound := netlink.NewRule()
	inbound.Family, inbound.Priority, inbound.Table, inbound.IifName = family, ruleInbound, unix.RT_TABLE_LOCAL, innerName
	if err := h.RuleAdd(inbound); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add a routing rule in the sink: %w", err)
	}
	all := netlink.NewRule()
	all.Family, all.Priority, all.Table = family, 0, unix.RT_TABLE_LOCAL
	if err := h.RuleDel(all); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove a routing rule in the sink: %w", err)
	}
	return nil
}
