package netctl

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inUse is an address range of this machine, as read from its routes and
// addresses.
type inUse struct {
	prefix netip.Prefix
	what   string // "address" or "route"
	device string
	onLink bool // the range itself lies behind the device, with no router between
}

// findOverlap says which prefix collides with what the machine has. Collisions
// are addresses and routes inside of a prefix, and networks this machine is
// itself connected to that contain a prefix. A wider route by way of a router
// is none: that the node's prefix is cut out of the site's is how it should be.
func findOverlap(prefixes []netip.Prefix, have []inUse) error {
	var errs []error
	for _, p := range prefixes {
		for _, u := range have {
			inside := u.prefix.Bits() >= p.Bits() && p.Contains(u.prefix.Addr())
			around := u.onLink && u.prefix.Bits() > 0 && u.prefix.Overlaps(p)
			if inside || around {
				errs = append(errs, &OverlapError{Prefix: p, Other: u.prefix, What: u.what, Device: u.device})
				break
			}
		}
	}
	return errors.Join(errs...)
}

// readInUse lists what others have put into the main table, and all addresses.
func readInUse(h *netlink.Handle) ([]inUse, error) {
	links, err := dump(h.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	var have []inUse
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		addrs, err := dump(func() ([]netlink.Addr, error) { return h.AddrList(nil, family) })
		if errors.Is(err, unix.EAFNOSUPPORT) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list addresses: %w", err)
		}
		for _, a := range addrs {
			if p, ok := toPrefix(a.IPNet); ok {
				host := netip.PrefixFrom(p.Addr(), p.Addr().BitLen())
				have = append(have, inUse{prefix: host, what: "address", device: names[a.LinkIndex]})
			}
		}
		routes, err := dump(func() ([]netlink.Route, error) { return h.RouteListFiltered(family, &netlink.Route{}, 0) })
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		for _, r := range routes {
			p, ok := toPrefix(r.Dst)
			if !ok || r.Protocol == routeProtocol {
				continue
			}
			u := inUse{prefix: p.Masked(), what: "route"}
			if r.Type == unix.RTN_UNICAST {
				u.device = names[r.LinkIndex]
				u.onLink = r.Gw == nil && r.Via == nil && len(r.MultiPath) == 0
			}
			have = append(have, u)
		}
	}
	return have, nil
}

func toPrefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.Prefix{}, false
	}
	bits, size := n.Mask.Size()
	if a.Is4In6() && size == 32 {
		a = a.Unmap()
	}
	return netip.PrefixFrom(a, bits), true
}

func toIPNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// dump repeats a listing during which the kernel's tables have changed. On a
// busy machine it may never come through whole, so the last try counts as it
// is.
func dump[T any](list func() ([]T, error)) (all []T, err error) {
	const tries = 10
	for range tries {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	return all, nil
}
