package deny

import (
	"errors"
	"fmt"
	"net/netip"
)

// ErrBad means that a prefix cannot be denied.
var ErrBad = errors.New("cannot be denied")

// What is wider than this is a typing error, and would cut the node off.
const (
	widest4 = 8
	widest6 = 16
)

// Parse reads a CIDR prefix or a single address, as fail2ban and CrowdSec write
// them. Bits behind the prefix' length are left out; an IPv4 address in the form
// of IPv6 is one of IPv4.
func Parse(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%q %w: want an address or a prefix, like 192.0.2.7 or 2001:db8::/64", text, ErrBad)
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	p = p.Masked()
	return p, check(p)
}

// check refuses what would cut the node off from its router, itself or the world.
func check(p netip.Prefix) error {
	a, widest := p.Addr(), widest6
	if a.Is4() {
		widest = widest4
	}
	switch {
	case p.Bits() < widest:
		return fmt.Errorf("%s %w: it is wider than /%d, and would cut the node off", p, ErrBad, widest)
	case a.Is4In6():
		return fmt.Errorf("%s %w: write it as IPv4", p, ErrBad)
	case a.IsLoopback(), a.IsMulticast(), a.IsUnspecified(), a.IsLinkLocalUnicast():
		return fmt.Errorf("%s %w: such an address is the node's own or a neighbour's, never a visitor's", p, ErrBad)
	}
	return nil
}
