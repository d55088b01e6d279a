package netctl

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Gateways that do not exist. On a device without ARP nobody asks for them, and
// with one the kernel needs a single neighbour entry for all destinations.
var (
	gateway4 = net.IPv4(169, 254, 0, 1).To4()
	gateway6 = net.ParseIP("fe80::1")
)

// Metrics of the two routes of a prefix: the device wins while it is there.
const (
	metricDevice      = 1024
	metricUnreachable = 65000
)

func gatewayFor(a netip.Addr) net.IP {
	if a.Is4() {
		return gateway4
	}
	return gateway6
}

func deviceRoute(p netip.Prefix, ifindex int) *netlink.Route {
	return &netlink.Route{
		Dst: toIPNet(p), LinkIndex: ifindex, Gw: gatewayFor(p.Addr()), Flags: int(netlink.FLAG_ONLINK),
		Protocol: routeProtocol, Priority: metricDevice, Table: unix.RT_TABLE_MAIN,
	}
}

// unreachableRoute is what stays when the device goes away: packets for VIPs
// die here instead of following the default route out of the machine.
func unreachableRoute(p netip.Prefix) *netlink.Route {
	return &netlink.Route{
		Dst: toIPNet(p), Type: unix.RTN_UNREACHABLE,
		Protocol: routeProtocol, Priority: metricUnreachable, Table: unix.RT_TABLE_MAIN,
	}
}

// ensureRoutes brings the routes of fcnode to exactly those of the prefixes.
func ensureRoutes(h *netlink.Handle, prefixes []netip.Prefix, ifindex int, undo *undoList) error {
	have, err := ownRoutes(h)
	if err != nil {
		return err
	}
	var want []*netlink.Route
	for _, p := range prefixes {
		want = append(want, unreachableRoute(p), deviceRoute(p, ifindex))
	}
	for i := range have {
		if !anyRoute(want, &have[i]) {
			if err := deleteRoute(h, &have[i]); err != nil {
				return err
			}
			undo.add(func() error { return addRoute(h, &have[i]) })
		}
	}
	for _, r := range want {
		if anyRouteIn(have, r) {
			continue
		}
		if err := addRoute(h, r); err != nil {
			return err
		}
		undo.add(func() error { return deleteRoute(h, r) })
	}
	return nil
}

func removeRoutes(h *netlink.Handle) error {
	have, err := ownRoutes(h)
	if err != nil {
		return err
	}
	var errs []error
	for i := range have {
		errs = append(errs, deleteRoute(h, &have[i]))
	}
	return errors.Join(errs...)
}

// ownRoutes lists the routes in the main table that fcnode has made.
func ownRoutes(h *netlink.Handle) (own []netlink.Route, err error) {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		filter := &netlink.Route{Protocol: routeProtocol}
		routes, err := dump(func() ([]netlink.Route, error) {
			return h.RouteListFiltered(family, filter, netlink.RT_FILTER_PROTOCOL)
		})
		if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) {
			return nil, fmt.Errorf("list the routes of fcnode: %w", err)
		}
		own = append(own, routes...)
	}
	return own, nil
}

func sameRoute(a, b *netlink.Route) bool {
	p, ok := toPrefix(a.Dst)
	q, ok2 := toPrefix(b.Dst)
	if !ok || !ok2 || p != q || a.Priority != b.Priority {
		return false
	}
	if a.Type == unix.RTN_UNREACHABLE || b.Type == unix.RTN_UNREACHABLE {
		return a.Type == b.Type
	}
	return a.LinkIndex == b.LinkIndex && a.Gw.Equal(b.Gw)
}

func anyRoute(rs []*netlink.Route, r *netlink.Route) bool {
	for _, o := range rs {
		if sameRoute(o, r) {
			return true
		}
	}
	return false
}

func anyRouteIn(rs []netlink.Route, r *netlink.Route) bool {
	for i := range rs {
		if sameRoute(&rs[i], r) {
			return true
		}
	}
	return false
}

func addRoute(h *netlink.Handle, r *netlink.Route) error {
	if err := h.RouteAdd(r); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add the %s for %s: %w", routeName(r), r.Dst, err)
	}
	return nil
}

func deleteRoute(h *netlink.Handle, r *netlink.Route) error {
	if err := h.RouteDel(r); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("remove the %s for %s: %w", routeName(r), r.Dst, err)
	}
	return nil
}

func routeName(r *netlink.Route) string {
	if r.Type == unix.RTN_UNREACHABLE {
		return "unreachable route"
	}
	return "route"
}

// checkRoutes asks the kernel where packets for each prefix would go: rules and
// tables that fcnode knows nothing of may come before its routes.
func checkRoutes(h *netlink.Handle, prefixes []netip.Prefix, ifindex int) error {
	for _, p := range prefixes {
		got, err := h.RouteGet(p.Addr().AsSlice())
		if err == nil && len(got) > 0 && got[0].LinkIndex == ifindex {
			continue
		}
		e := &ShadowedError{Prefix: p, Err: err}
		if err == nil && len(got) > 0 {
			if l, err := h.LinkByIndex(got[0].LinkIndex); err == nil {
				e.Device = l.Attrs().Name
			}
		}
		return e
	}
	return nil
}
